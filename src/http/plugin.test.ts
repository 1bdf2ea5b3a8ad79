import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import Fastify, { type FastifyInstance } from "fastify";
import { afterEach, describe, expect, it } from "vitest";
import { type DoorOptions, type OpenDoor, openTestDoor, PUBLIC_URL } from "../../test/open-door.ts";
import { defineOperation } from "../core/operation.ts";
import { readyOperations } from "../core/operations.ts";
import { createAccess } from "./access.ts";
import { plugin } from "./plugin.ts";

let door: OpenDoor;
afterEach(() => door?.close());

async function open(options?: DoorOptions): Promise<OpenDoor> {
  door = await openTestDoor(options);
  return door;
}

const UUID = "9f0c2a7e-1f7c-4a52-9a7d-0d5f3f6c8b21";
const POST = {
  method: "POST",
  body: '{"text":"hello"}',
  headers: { "content-type": "application/json" },
} as const;

describe("in a Fastify app of others", () => {
  async function hosted(more: (app: FastifyInstance) => void = () => {}) {
    const { ledger, blobs } = await open();
    const app = Fastify();
    more(app);
    await app.register(
      plugin({
        jobs: ledger.jobs,
        operations: readyOperations([
          defineOperation({
            name: "echo",
            input: { type: "object", properties: { text: { type: "string" } } },
          }),
        ]),
        blobs,
        access: createAccess(),
        publicUrl: () => `${PUBLIC_URL}/slow`,
        cursorKey: new Uint8Array(32),
        log: { warn() {}, error() {} },
      }),
      { prefix: "/slow" },
    );
    app.post("/own", (request) => ({ got: request.body }));
    app.get("/broken", () => {
      throw new Error("own");
    });
    return app;
  }

  it("the routes lie below the prefix, and say so", async () => {
    const app = await hosted();
    const answer = await app.inject({ ...POST, url: "/slow/operations/echo" });
    expect(answer.statusCode).toBe(202);
    const { id } = answer.json();
    expect(answer.headers.location).toBe(`${PUBLIC_URL}/slow/jobs/${id}`);
    expect((await app.inject(`/slow/jobs/${id}`)).statusCode).toBe(200);
    expect((await app.inject(`/jobs/${id}`)).statusCode).toBe(404);
    await app.close();
  });

  it("an id that is too long for the app's router is answered as ever, and a path that is not ours by the app", async () => {
    const app = await hosted();
    const unknown = await app.inject("/slow/jobs/0000000000000000000000000");
    expect(unknown.statusCode).toBe(404);
    for (const length of [100, 101, 5000]) {
      const id = UUID.repeat(200).slice(0, length);
      for (const path of [`/slow/jobs/${id}`, `/slow/jobs/${id}/result`, `/slow/jobs/${id}/result/a`]) {
        const answer = await app.inject(path);
        expect([length, answer.statusCode, answer.body]).toEqual([length, 404, unknown.body]);
        expect(answer.headers["cache-control"]).toBe("private, no-store");
      }
      const body = '{"operation":"echo","input":{}}';
      const put = await app.inject({ ...POST, body, method: "PUT", url: `/slow/jobs/${id}` });
      expect([length, put.statusCode]).toEqual([length, length === 100 ? 202 : 400]);
      expect(put.json().type).toBe(
        length === 100 ? undefined : `${PUBLIC_URL}/slow/problems/invalid-request`,
      );
    }
    for (const path of ["/slow/jobs/x/nothing", "/slow/jobs/x/", "/slow/jobs/x/files/y"]) {
      const answer = await app.inject(path);
      expect([path, answer.statusCode]).toEqual([path, 404]);
      expect(answer.headers["content-type"]).not.toContain("problem");
    }
    const page = await app.inject(`/slow/problems/${"x".repeat(101)}`);
    expect([page.statusCode, page.headers["content-type"]]).toEqual([404, "application/problem+json"]);
    await app.close();
  });

  it("the app's own parsers, errors and unknown paths stay as they were", async () => {
    const app = await hosted();
    const own = await app.inject({ ...POST, url: "/own" });
    expect(own.json()).toEqual({ got: { text: "hello" } });
    const broken = await app.inject("/broken");
    expect(broken.headers["content-type"]).toBe("application/json; charset=utf-8");
    expect((await app.inject("/nothing")).headers["content-type"]).not.toContain("problem");
    await app.close();
  });

  it("the app's hooks run for our routes as for its own, and its errors in them are told as problems", async () => {
    const seen: string[] = [];
    const app = await hosted((host) => {
      host.addHook("onSend", (request, reply, payload, done) => {
        seen.push(request.url);
        reply.header("x-host", "yes");
        done(null, payload);
      });
      host.addHook("preHandler", (request, _reply, done) => {
        done(request.headers["x-fail"] === undefined ? undefined : new Error("The host's own."));
      });
    });
    const answer = await app.inject({ ...POST, url: "/slow/operations/echo" });
    expect(answer.headers["x-host"]).toBe("yes");
    expect(seen).toEqual(["/slow/operations/echo"]);
    const failed = await app.inject({ url: "/slow/jobs", headers: { "x-fail": "1" } });
    expect(failed.statusCode).toBe(500);
    expect(failed.headers["content-type"]).toBe("application/problem+json");
    expect(failed.body).not.toContain("The host's own.");
    await app.close();
  });
});

describe("a body that the host has parsed already", () => {
  it.each([
    ["a value", { text: "hello" }],
    ["text", '{"text":"hello"}'],
    ["bytes", Buffer.from('{"text":"hello"}')],
  ])("as %s is taken as it is", async (_what, body) => {
    const { claim, ledger, blobs } = await open();
    const app = Fastify();
    await app.register(
      plugin({
        jobs: ledger.jobs,
        operations: readyOperations([
          defineOperation({
            name: "echo",
            input: { type: "object", properties: { text: { type: "string" } } },
          }),
        ]),
        blobs,
        access: createAccess({ caller: () => ({ owner: "ada" }) }),
        publicUrl: () => PUBLIC_URL,
        cursorKey: new Uint8Array(32),
        log: { warn() {}, error() {} },
      }),
    );
    await app.ready();
    const server = createServer(async (request, response) => {
      for await (const _chunk of request);
      app.routing(Object.assign(request, { body }), response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const answer = await fetch(`http://127.0.0.1:${port}/operations/echo`, POST);
    expect(answer.status).toBe(202);
    expect((await claim()).input).toBe('{"text":"hello"}');
    server.close();
    server.closeAllConnections();
    await app.close();
  });
});

describe("a server that stops", () => {
  it("G3: answers what is under way, refuses what comes after with 503, and then is gone", async () => {
    let release: () => void = () => {};
    let begin: () => void = () => {};
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { raw, keys, close } = await open({
      between: (jobs) => ({
        ...jobs,
        async get() {
          begin();
          await held;
          return null;
        },
      }),
    });
    const head = `HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${keys.ada}\r\n`;
    const body = `Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{"text":"hello"`;
    const received = raw(`GET /jobs/x ${head}\r\nPOST /operations/echo ${head}${body}`, {
      after: async (socket) => {
        await begun;
        const closing = close();
        // The second request's headers were let through before the close; a third comes after it.
        socket.write(`}GET /jobs ${head}\r\n`);
        release();
        await closing;
      },
    });
    const statuses = (await received).match(/HTTP\/1\.1 \d{3}/g);
    expect(statuses).toEqual(["HTTP/1.1 404", "HTTP/1.1 202", "HTTP/1.1 503"]);
    expect(await received).toMatch(/^retry-after: [1-9]/im);
  });
});
