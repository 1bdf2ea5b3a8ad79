import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request as open, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import express from "express";
import Fastify from "fastify";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { z } from "zod";
import { defineOperation } from "../core/operation.ts";
import { coatcheck, type Desk } from "./desk.ts";
import type { DeskOptions } from "./desk-options.ts";

const echo = defineOperation({
  name: "echo",
  input: z.object({ text: z.string().optional() }),
  output: z.object({ text: z.string() }),
  file: { types: ["text/*"] },
});

/** A desk on nothing, with a handler that gives back what was sent. */
function openDesk(options: Partial<DeskOptions> = {}): Desk {
  const desk = coatcheck({ operations: [echo], store: "memory:", log: false, ...options });
  desk.handle(echo, async ({ text }, { upload }) => {
    if (upload === undefined) return { text: text ?? "" };
    const chunks = await (await upload.stream()).toArray();
    return { text: Buffer.concat(chunks).toString() };
  });
  onTestFinished(() => desk.close());
  return desk;
}

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(listener: Listener): Promise<string> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(async () => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const SENT = {
  method: "POST",
  headers: { "content-type": "application/json", prefer: "wait=20" },
  body: '{"text":"hello"}',
};

const later = (url: string) =>
  new Request(`${url}/operations/echo`, {
    ...SENT,
    headers: { ...SENT.headers, prefer: "respond-async", "coatcheck-delay": "3600" },
  });

afterEach(() => {
  vi.useRealTimers();
});

describe("the middleware", () => {
  it("tells the address of the connection and the path that Connect has cut off, whatever Host says", async () => {
    const slow = openDesk().middleware();
    const url = await serve((request, response) => {
      // As Connect's `use("/slow", …)` does.
      const whole = request.url ?? "";
      slow(Object.assign(request, { originalUrl: whole, url: whole.slice("/slow".length) }), response);
    });
    const { hostname, port } = new URL(url);
    const request = open({
      hostname,
      port,
      path: "/slow/operations/echo",
      method: "POST",
      headers: { ...SENT.headers, prefer: "respond-async", host: "evil.example" },
    });
    request.end(SENT.body);
    const [answer] = (await once(request, "response")) as [IncomingMessage];
    answer.resume();
    expect(answer.headers.location).toMatch(new RegExp(`^${url}/slow/jobs/\\w+$`));
  });

  it("tells the public URL where one is given", async () => {
    const slow = openDesk({ publicUrl: "https://api.example.com/slow/" }).middleware();
    const url = await serve((request, response) => slow(request, response));
    const answer = await fetch(later(url));
    expect(answer.headers.get("location")).toMatch(/^https:\/\/api\.example\.com\/slow\/jobs\/\w+$/);
  });

  it("hands paths that are not its own to the app as they were, and takes wrong methods on its own", async () => {
    const slow = openDesk().middleware();
    const url = await serve((request, response) => {
      slow(request, response, () => response.end(`app: ${request.method} ${request.url}`));
    });
    expect(await (await fetch(`${url}/elsewhere?a=1`)).text()).toBe("app: GET /elsewhere?a=1");
    expect(await (await fetch(`${url}/`, { method: "PURGE" })).text()).toBe("app: PURGE /");
    expect((await fetch(`${url}/jobs`, { method: "PURGE" })).status).toBe(405);
  });

  it("answers 404 by itself where there is no app around it", async () => {
    const url = await serve(openDesk().middleware());
    const answer = await fetch(`${url}/elsewhere`);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([404, "application/problem+json"]);
  });

  it.each(["raw", "text"] as const)("takes a file that express.%s() has read before it", async (parser) => {
    const app = express();
    app.use(express[parser]({ type: "*/*" }));
    app.use(openDesk().middleware());
    const url = await serve(app);
    const headers = { "content-type": "text/plain", prefer: "wait=20" };
    const answer = await fetch(`${url}/operations/echo`, { method: "POST", headers, body: "a file" });
    expect(await answer.json()).toEqual({ text: "a file" });
  });

  it("does not take a file for empty that something before it has read away", async () => {
    const slow = openDesk().middleware();
    const url = await serve(async (request, response) => {
      for await (const _chunk of request);
      slow(request, response);
    });
    const headers = { "content-type": "text/plain" };
    const answer = await fetch(`${url}/operations/echo`, { method: "POST", headers, body: "a file" });
    expect(answer.status).toBe(500);
  });

  it("tells the app when the store can't be opened, and works once it can be", async () => {
    const home = await mkdtemp(join(tmpdir(), "mounts-"));
    onTestFinished(() => rm(home, { recursive: true }));
    // A file stands where the database's folder has to be.
    await writeFile(join(home, "data"), "");
    const slow = openDesk({ store: `sqlite:${join(home, "data", "desk.db")}` }).middleware();
    const url = await serve((request, response) => {
      slow(request, response, (error) => response.writeHead(error === undefined ? 404 : 500).end());
    });
    expect((await fetch(`${url}/jobs`)).status).toBe(500);
    await rm(join(home, "data"));
    await mkdir(join(home, "data"));
    expect((await fetch(`${url}/jobs`)).status).toBe(200);
  });

  it("answers whoever waits when the desk closes, and 503 from then on", async () => {
    const desk = openDesk();
    const url = await serve(desk.middleware());
    const accepted = await fetch(later(url));
    const request = open(accepted.headers.get("location") ?? "", { headers: { prefer: "wait=60" } });
    const answered = once(request, "response") as Promise<[IncomingMessage]>;
    request.end();
    await fetch(`${url}/jobs`);
    await desk.close();
    const [answer] = await answered;
    const body = Buffer.concat(await answer.toArray());
    expect(JSON.parse(body.toString())).toMatchObject({ status: "queued" });
    const refused = await fetch(`${url}/jobs`);
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
  });

  it("refuses an upload that is still on its way when the desk closes", async () => {
    const desk = openDesk();
    const url = await serve(desk.middleware());
    const headers = { "content-type": "text/plain", "content-length": "1000", expect: "100-continue" };
    const upload = open(`${url}/operations/echo`, { method: "POST", headers });
    upload.on("error", () => {});
    const answered = once(upload, "response") as Promise<[IncomingMessage]>;
    upload.flushHeaders();
    await once(upload, "continue");
    upload.write("the beginning");
    await fetch(`${url}/jobs`);
    await desk.close();
    const [answer] = await answered;
    answer.resume();
    expect(answer.statusCode).toBe(503);
    upload.destroy();
  });
});

describe("the Fastify plugin", () => {
  it("adds the app's prefixes to the URLs, and answers whoever waits before the app cuts its connections", async () => {
    const app = Fastify({ forceCloseConnections: true });
    const desk = openDesk();
    await app.register(async (part) => part.register(desk.fastify, { prefix: "/slow" }), { prefix: "/v1" });
    const url = await app.listen({ port: 0 });
    const accepted = await fetch(later(`${url}/v1/slow`));
    const monitor = accepted.headers.get("location") ?? "";
    expect(monitor).toMatch(new RegExp(`^${url}/v1/slow/jobs/\\w+$`));
    const waiting = fetch(monitor, { headers: { prefer: "wait=60" } });
    await fetch(`${url}/v1/slow/jobs`);
    // A connection that a browser keeps in stock.
    const unused = connect(Number(new URL(url).port), "127.0.0.1");
    await once(unused, "connect");
    unused.on("error", () => {}).resume();
    await app.close();
    expect(await (await waiting).json()).toMatchObject({ status: "queued" });
  });
});

describe("fetch", () => {
  const publicUrl = "https://api.example.com/slow";

  it("needs to be told the public URL", async () => {
    await expect(openDesk().fetch(new Request("http://x/jobs"))).rejects.toThrow("give `publicUrl`");
  });

  it.each(["https://api.example.com/slow", "http://behind-the-proxy"])(
    "finds its routes below %s, and leaves fields about the connection to the host",
    async (url) => {
      const answer = await openDesk({ publicUrl }).fetch(new Request(`${url}/operations/echo`, SENT));
      expect([answer.status, await answer.json()]).toEqual([200, { text: "hello" }]);
      expect(answer.headers.get("content-location")).toMatch(/^https:\/\/api\.example\.com\/slow\/jobs\//);
      for (const name of ["connection", "keep-alive", "transfer-encoding", "date"]) {
        expect(answer.headers.has(name)).toBe(false);
      }
    },
  );

  it.each(["GET", "HEAD", "DELETE"])("answers %s without a body where there is none", async (method) => {
    const desk = openDesk({ publicUrl });
    const monitor = (await desk.fetch(later(publicUrl))).headers.get("location") ?? "";
    const first = await desk.fetch(new Request(monitor));
    const headers: Record<string, string> =
      method === "GET" ? { "if-none-match": first.headers.get("etag") ?? "" } : { prefer: "return=minimal" };
    const answer = await desk.fetch(new Request(monitor, { method, headers }));
    expect(answer.status).toBe({ GET: 304, HEAD: 200, DELETE: 204 }[method]);
    expect(answer.body).toBeNull();
  });

  it("outlives a body that it refused and nobody reads", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const endless = new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(1000)) });
    const request = new Request(`${publicUrl}/operations/echo`, {
      method: "POST",
      headers: { "content-type": "image/png" },
      body: endless,
      duplex: "half",
    });
    const answer = await openDesk({ publicUrl }).fetch(request);
    expect(answer.status).toBe(415);
    vi.advanceTimersByTime(60_000);
    vi.useRealTimers();
  });

  it("ends a wait when the caller hangs up", async () => {
    const desk = openDesk({ publicUrl });
    const monitor = (await desk.fetch(later(publicUrl))).headers.get("location") ?? "";
    const caller = new AbortController();
    const waiting = desk.fetch(
      new Request(monitor, { headers: { prefer: "wait=60" }, signal: caller.signal }),
    );
    await desk.fetch(new Request(monitor));
    caller.abort();
    await expect(waiting).rejects.toThrow("aborted");
  });

  it("answers whoever waits when the desk closes, and 503 from then on", async () => {
    const desk = openDesk({ publicUrl });
    const monitor = (await desk.fetch(later(publicUrl))).headers.get("location") ?? "";
    const waiting = desk.fetch(new Request(monitor, { headers: { prefer: "wait=60" } }));
    await desk.fetch(new Request(monitor));
    await desk.close();
    expect(await (await waiting).json()).toMatchObject({ status: "queued" });
    expect((await desk.fetch(new Request(monitor))).status).toBe(503);
  });
});
