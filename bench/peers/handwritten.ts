// The peer that most teams have: Express 5, BullMQ and Redis, written with care. The key and the quota go to Redis in
// one round trip, the job and its status document in a second one. What it still lacks beside Coatcheck: a crash
// between the two loses the request and keeps its key, and Redis itself loses what it has not yet written to disk.
// Arguments: the URL of a Redis, the prefix of its keys.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Queue } from "bullmq";
import express from "express";
import { Redis } from "ioredis";
import { announce } from "./announce.ts";

const [redisUrl = "", prefix = ""] = process.argv.slice(2);
const daySeconds = 86_400;
const quota = 1_000_000_000;

const redis = new Redis(redisUrl, { enableAutoPipelining: true });
const queue = new Queue("empty", {
  connection: new Redis(redisUrl, { maxRetriesPerRequest: null }),
  prefix,
});

const app = express();
app.disable("x-powered-by");
app.disable("etag");
app.use(express.json({ limit: "100kb" }));

app.post("/operations/empty", async (request, response) => {
  const owner = request.get("x-owner") ?? "anonymous";
  const key = request.get("idempotency-key");
  const input = request.body as { readonly text?: unknown };
  if (key === undefined || key.length > 255) {
    response.status(400).json({ title: "Idempotency-Key is required" });
    return;
  }
  if (typeof input.text !== "string") {
    response.status(422).json({ title: "text must be a string" });
    return;
  }
  const id = randomUUID();
  const charge = `${prefix}:quota:${owner}`;
  const [before, active] = await Promise.all([
    redis.set(`${prefix}:key:${owner}:${key}`, id, "EX", daySeconds, "NX", "GET"),
    redis.incr(charge),
  ]);
  if (before !== null) {
    await redis.decr(charge);
    const status = await redis.get(`${prefix}:job:${before}`);
    response.status(202).location(`/jobs/${before}`).type("json").send(status);
    return;
  }
  if (active > quota) {
    await Promise.all([redis.decr(charge), redis.del(`${prefix}:key:${owner}:${key}`)]);
    response.status(429).set("Retry-After", "60").json({ title: "Over quota" });
    return;
  }
  const job = { id, operation: "empty", status: "queued", owner, createdAt: new Date().toISOString() };
  const text = JSON.stringify(job);
  await Promise.all([
    redis.set(`${prefix}:job:${id}`, text, "EX", daySeconds),
    queue.add("empty", input, { jobId: id }),
  ]);
  response.status(202).location(`/jobs/${id}`).set("Retry-After", "1").type("json").send(text);
});

app.get("/jobs/:id", async (request, response) => {
  const text = await redis.get(`${prefix}:job:${request.params.id}`);
  if (text === null) response.status(404).json({ title: "No such job" });
  else response.type("json").send(text);
});

await queue.waitUntilReady();
announce(createServer(app));
