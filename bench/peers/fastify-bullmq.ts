// The fastest server that is easily had with BullMQ: Fastify and one `queue.add`, no key, no quota, no status document
// of its own. With "work" it completes the jobs itself, a hundred at once; with "follow" it also listens to the queue's
// events, which costs it much under load, and answers `Prefer: wait` with the result.
// Arguments: the URL of a Redis, the prefix of its keys, "accept", "work" or "follow".
import { Queue, QueueEvents, Worker } from "bullmq";
import Fastify from "fastify";
import { Redis } from "ioredis";

const [redisUrl = "", prefix = "", mode = ""] = process.argv.slice(2);
const connection = (options = {}) => new Redis(redisUrl, { maxRetriesPerRequest: null, ...options });

// Pipelining by the tick helps where jobs are only added, and costs where they are also worked on: measured.
const queue = new Queue("empty", {
  connection: connection({ enableAutoPipelining: mode === "accept" }),
  prefix,
});
const events = mode === "follow" ? new QueueEvents("empty", { connection: connection(), prefix }) : undefined;
let completed = 0;
if (mode !== "accept") {
  const worker = new Worker("empty", async () => ({}), {
    connection: connection(),
    prefix,
    concurrency: 100,
  });
  worker.on("completed", () => {
    completed += 1;
  });
  await worker.waitUntilReady();
}
await events?.waitUntilReady();

const app = Fastify();
const body = {
  type: "object",
  properties: { text: { type: "string" } },
  required: ["text"],
  additionalProperties: false,
};

app.post<{ Body: { readonly text: string } }>(
  "/operations/empty",
  { schema: { body } },
  async (request, reply) => {
    const job = await queue.add("empty", request.body);
    if (events !== undefined && `${request.headers.prefer}`.startsWith("wait")) {
      return { result: (await job.waitUntilFinished(events)) as unknown };
    }
    return reply
      .code(202)
      .header("location", `/jobs/${job.id}`)
      .header("retry-after", "1")
      .send({ id: job.id, status: "queued" });
  },
);

app.get<{ Params: { readonly id: string } }>("/jobs/:id", async (request) => ({
  id: request.params.id,
  status: await queue.getJobState(request.params.id),
}));

// For the bench: how many the worker has completed.
app.get("/completed", async () => ({ completed }));

console.log(`ready ${await app.listen({ host: "127.0.0.1", port: 0 })}`);
