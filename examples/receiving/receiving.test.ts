import { randomBytes } from "node:crypto";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatSecret, parseSecret, signWebhook } from "../../src/protocol/signature.ts";
import { freePort, startTied } from "../../test/process.ts";
import { ended } from "./desk.ts";
import { start as startExpress } from "./express.ts";
import { start as startFastify } from "./fastify.ts";
import { start as startFetch } from "./fetch.ts";

const OLD = formatSecret(randomBytes(32));
const NEW = formatSecret(randomBytes(32));
const STRANGE = formatSecret(randomBytes(32));

interface Delivery {
  readonly id: string;
  readonly job: string;
  readonly secret?: string;
  readonly type?: string;
  readonly operation?: string;
  readonly agoSeconds?: number;
}

const now = () => Math.floor(Date.now() / 1000);

async function deliver(url: string, delivery: Delivery, change = (body: string) => body): Promise<number> {
  const { id, job, secret = NEW, type = "job.completed", operation = "any", agoSeconds = 0 } = delivery;
  const data = { id: job, operation, status: "completed" };
  const body = JSON.stringify({ type, timestamp: new Date().toISOString(), data });
  const at = now() - agoSeconds;
  const answer = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": `${at}`,
      "webhook-signature": await signWebhook([parseSecret(secret)!], id, at, body),
    },
    body: change(body),
  });
  await answer.arrayBuffer();
  return answer.status;
}

describe.each([
  ["Express", startExpress],
  ["Fastify", startFastify],
  ["fetch", startFetch],
])("received in %s", (_name, start) => {
  let app: Awaited<ReturnType<typeof start>>;

  beforeAll(async () => {
    ended.clear();
    app = await start({ secrets: [NEW, OLD] });
  });
  afterAll(async () => {
    await app.close();
    await expect(fetch(app.url)).rejects.toThrow("fetch failed");
  });

  it("an event is handled, signed with the new secret or the old one", async () => {
    expect(await deliver(app.url, { id: "a1", job: "first" })).toBe(204);
    expect(await deliver(app.url, { id: "a2", job: "second", secret: OLD })).toBe(204);
    expect(ended.get("first")).toBe("completed");
    expect(ended.has("second")).toBe(true);
  });

  it("an event that comes again is answered 204, and not handled again", async () => {
    expect(await deliver(app.url, { id: "b", job: "again" })).toBe(204);
    ended.delete("again");
    expect(await deliver(app.url, { id: "b", job: "again" })).toBe(204);
    expect(ended.has("again")).toBe(false);
  });

  it("an event that could not be handled is answered 500, and handled when it comes again", async () => {
    const closed = { id: "c", job: "closed", operation: "out-of-order" };
    expect(await deliver(app.url, closed)).toBe(500);
    expect(await deliver(app.url, { ...closed, operation: "any" })).toBe(204);
    expect(ended.has("closed")).toBe(true);
  });

  it("what is forged, changed, late or unsigned has no effect", async () => {
    expect(await deliver(app.url, { id: "d1", job: "forged", secret: STRANGE })).toBe(400);
    expect(
      await deliver(app.url, { id: "d2", job: "changed" }, (body) => body.replace("changed", "forged")),
    ).toBe(400);
    expect(await deliver(app.url, { id: "d3", job: "forged", agoSeconds: 301 })).toBe(400);
    expect((await fetch(app.url, { method: "POST", body: '{"job":"forged"}' })).status).toBe(400);
    expect((await fetch(app.url, { method: "POST" })).status).toBe(400);
    expect([...ended.keys()]).not.toContain("forged");
    expect([...ended.keys()]).not.toContain("changed");
  });

  it("events of other kinds are taken and left alone", async () => {
    expect(await deliver(app.url, { id: "e1", job: "begun", type: "job.started" })).toBe(204);
    expect(await deliver(app.url, { id: "e2", job: "new", type: "job.unheard-of" })).toBe(204);
    expect(await deliver(app.url, { id: "e3", job: "ping", type: "ping" })).toBe(204);
    expect(["begun", "new", "ping"].filter((job) => ended.has(job))).toEqual([]);
  });

  // The last one: it may cost the connection, before or after its answer.
  it("what is too long is not read to its end", async () => {
    const long = deliver(app.url, { id: "g", job: "long" }, (body) => body + " ".repeat(2_000_000));
    expect(await long.catch(() => 413)).toBe(413);
    expect(ended.has("long")).toBe(false);
  });
});

describe.each(["express.ts", "fastify.ts", "fetch.ts"])("%s", (file) => {
  it("runs when started directly, and leaves nothing open when it is told to stop", async () => {
    const home = await mkdtemp(join(tmpdir(), "receiving-"));
    const program = startTied(
      [
        process.execPath,
        "--import",
        fileURLToPath(new URL("../../scripts/typescript.js", import.meta.url)),
        fileURLToPath(new URL(file, import.meta.url)),
      ],
      {
        workingDirectory: home,
        directory: home,
        environment: {
          PORT: `${await freePort()}`,
          WEBHOOK_SECRETS: `${NEW} ${OLD}`,
          TSX_TSCONFIG_PATH: fileURLToPath(new URL("../../tsconfig.json", import.meta.url)),
        },
      },
    );
    const url = await program.line("POST ");
    expect(await deliver(url, { id: "f", job: "kq3v9" })).toBe(204);
    expect(await program.line("kq3v9 is ")).toBe("completed");
    process.kill(program.pid, "SIGTERM");
    expect(await program.ended).toMatchObject({ code: 0 });
  });
});
