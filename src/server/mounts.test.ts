import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request as open, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import express from "express";
import Fastify, { type FastifyRequest } from "fastify";
import type { Logger } from "pino";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { z } from "zod";
import type { Accepted } from "../core/jobs.ts";
import { defineOperation } from "../core/operation.ts";
import type { AppCaller } from "../http/access.ts";
import { createLog } from "../telemetry/log.ts";
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

/** A log that keeps what it is warned of. */
function listening(): { readonly log: Logger; readonly warnings: string[] } {
  const warnings: string[] = [];
  const write = (line: string) => void warnings.push((JSON.parse(line) as { msg: string }).msg);
  return { log: createLog({ level: "warn", to: { write } }), warnings };
}

describe("who asks", () => {
  const publicUrl = "https://api.example.com/slow";
  const OPEN =
    "the desk is mounted without `caller`, `keys` or `jwt`: everyone who reaches its routes is one owner and may do everything";
  const jobsOf = async (answer: Response) => ((await answer.json()) as { jobs: unknown[] }).jobs.length;

  it("is what a host that speaks fetch has found out, request by request", async () => {
    const { log, warnings } = listening();
    const desk = openDesk({ publicUrl, log });
    const ask = (path: string, caller: AppCaller | null, init?: RequestInit) =>
      desk.fetch(new Request(publicUrl + path, init), { caller });
    const [ada, eve] = [{ owner: "ada" }, { owner: "eve" }];
    const accepted = await ask("/operations/echo", ada, { ...SENT, headers: later(publicUrl).headers });
    const path = new URL(accepted.headers.get("location") ?? "").pathname.slice("/slow".length);
    const [own, others, nobody] = await Promise.all([ask(path, ada), ask(path, eve), ask(path, null)]);
    expect([accepted.status, own.status, others.status, nobody.status]).toEqual([202, 200, 404, 401]);
    expect([await jobsOf(await ask("/jobs", ada)), await jobsOf(await ask("/jobs", eve))]).toEqual([1, 0]);
    const narrow = await ask(path, { owner: "ada", scopes: ["read"] }, { method: "DELETE" });
    expect(narrow.status).toBe(403);
    expect(warnings).toEqual([]);
    // Who is not told of is who the desk's own access says, which is everyone here.
    expect((await desk.fetch(new Request(`${publicUrl}/jobs`))).status).toBe(200);
    expect((await desk.fetch(new Request(`${publicUrl}/jobs`))).status).toBe(200);
    expect(warnings).toEqual([OPEN]);
  });

  it("is what the app around the middleware has found out", async () => {
    const { log, warnings } = listening();
    const app = express();
    app.use((request, _response, next) => {
      Object.assign(request, { user: request.get("x-user") });
      next();
    });
    const callerOf = (request: IncomingMessage & { user?: string }) =>
      request.user === undefined ? null : { owner: request.user };
    app.use(openDesk({ log }).middleware({ caller: callerOf }));
    const url = await serve(app);
    expect((await fetch(`${url}/jobs`)).status).toBe(401);
    expect((await fetch(`${url}/jobs`, { headers: { "x-user": "ada" } })).status).toBe(200);
    expect(warnings).toEqual([]);
  });

  it("is what the hooks of the Fastify app have found out", async () => {
    const { log, warnings } = listening();
    const app = Fastify();
    app.decorateRequest("user", null);
    app.addHook("onRequest", async (request) => {
      Object.assign(request, { user: request.headers["x-user"] });
    });
    const callerOf = (request: FastifyRequest) => {
      const { user } = request as { user?: string };
      return user === undefined ? null : { owner: user };
    };
    await app.register(openDesk({ log }).fastify, { prefix: "/slow", caller: callerOf });
    onTestFinished(() => app.close());
    expect((await app.inject("/slow/jobs")).statusCode).toBe(401);
    expect((await app.inject({ url: "/slow/jobs", headers: { "x-user": "ada" } })).statusCode).toBe(200);
    expect(warnings).toEqual([]);
  });

  it.each([
    ["fastify", async (desk: Desk) => void (await Fastify().register(desk.fastify))],
    ["middleware", async (desk: Desk) => void (await fetch(`${await serve(desk.middleware())}/jobs`))],
    ["fetch", async (desk: Desk) => void (await desk.fetch(new Request(`${publicUrl}/jobs`)))],
  ])("is everyone where nothing says who it is, which the log warns of: %s", async (_name, mount) => {
    const { log, warnings } = listening();
    const desk = openDesk({ publicUrl, log });
    await mount(desk);
    expect(warnings).toEqual([OPEN]);
  });

  it("is nothing to warn of where the desk has keys or a caller of its own", async () => {
    const { log, warnings } = listening();
    await Fastify().register(openDesk({ log, caller: () => ({ owner: "ada" }) }).fastify);
    await Fastify().register(openDesk({ log, keys: [] }).fastify);
    expect(warnings).toEqual([]);
  });
});

describe("a desk", () => {
  const isClosed = (desk: Desk) =>
    desk.counts().then(
      () => false,
      (error: Error) => error.message === "The desk is closed.",
    );
  const mounted = async (desk: Desk) => {
    const app = Fastify();
    await app.register(desk.fastify);
    await app.ready();
    return app;
  };

  it("that Fastify apps alone have opened ends with the last of them", async () => {
    const desk = openDesk();
    const [one, other] = [await mounted(desk), await mounted(desk)];
    await one.close();
    expect((await other.inject("/jobs")).statusCode).toBe(200);
    await other.close();
    expect(await isClosed(desk)).toBe(true);
  });

  it.each([
    ["ready", (desk: Desk) => desk.ready()],
    ["work", (desk: Desk) => desk.work()],
    ["a method", (desk: Desk) => desk.counts()],
  ])("that %s has opened outlives the app that it is mounted in", async (_what, open) => {
    const desk = openDesk();
    await open(desk);
    await (await mounted(desk)).close();
    expect(await isClosed(desk)).toBe(false);
  });

  it("that is mounted elsewhere, too, outlives the Fastify app", async () => {
    const desk = openDesk();
    const app = await mounted(desk);
    const url = await serve(desk.middleware());
    expect((await fetch(`${url}/jobs`)).status).toBe(200);
    await app.close();
    expect((await fetch(`${url}/jobs`)).status).toBe(200);
  });

  it("that is not to work by being mounted works when it is told to", async () => {
    const desk = openDesk({ work: false });
    const app = await mounted(desk);
    onTestFinished(() => app.close());
    const accepted = await desk.submit(echo, { text: "x" }, { owner: "ada" });
    const { id } = (accepted as Accepted).view.job;
    const waited = await desk.wait("ada", id, 50);
    expect(waited?.job).toMatchObject({ status: "queued", attempt: 0 });
    await desk.work();
    expect((await desk.wait("ada", id, 20_000))?.job.status).toBe("completed");
  });

  it("submits by the tier that it is told", async () => {
    const desk = openDesk({ tiers: { tiny: { active: 1 } } });
    const submit = (tier?: string) =>
      desk.submit(
        echo,
        { text: "x" },
        { owner: "ada", delay: "1h", ...(tier === undefined ? {} : { tier }) },
      );
    expect(await submit("tiny")).toHaveProperty("view");
    expect(await submit("tiny")).toMatchObject({ refused: { status: 429 } });
    expect(await submit()).toHaveProperty("view");
    await expect(submit("huge")).rejects.toThrow('There is no tier "huge", only default, tiny.');
  });

  it.each([
    [{ store: "mongodb://a:hunter2@b" }, "store can't be mongodb"],
    [{ concurrency: 0 }, "concurrency must be a whole number"],
    [{ operations: [{ ...echo, policy: {} } as never] }, "its policy.maxAttempts must be"],
  ])("with %j is refused where it is made", (options, sentence) => {
    expect(() => coatcheck({ operations: [echo], ...options })).toThrow(sentence);
  });
});
