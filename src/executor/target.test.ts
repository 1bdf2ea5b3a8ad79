import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer, get, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer, Socket } from "node:net";
import { text } from "node:stream/consumers";
import type { TLSSocket } from "node:tls";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { specialHosts, spellIpv4 } from "../../test/addresses.ts";
import { type Canary, startCanary } from "../../test/canary.ts";
import { makeCertificate } from "../../test/certificate.ts";
import { type DnsReply, type DnsServer, type Question, startDns } from "../../test/dns.ts";
import {
  type Called,
  createTarget,
  type Resolver,
  type TargetOptions,
  type TargetRequest,
} from "./target.ts";

/** Stands for the public address: the one that may be called. All others of this machine are the canary's. */
const OPEN = "127.0.0.1";
const POST: TargetRequest = {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: '{"a":"ü"}',
};

const closing: (() => Promise<unknown>)[] = [];
let canary: Canary;

beforeEach(async () => {
  canary = await startCanary();
  closing.push(canary.close);
});

afterEach(async () => {
  vi.restoreAllMocks();
  for (const close of closing.splice(0).reverse()) await close();
});

async function listen(server: Server | ReturnType<typeof createTcpServer>, address = OPEN): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {});
  });
  server.listen(0, address);
  await once(server, "listening");
  closing.push(async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
    await once(server, "close");
  });
  return (server.address() as AddressInfo).port;
}

const serve = (listener: RequestListener) => listen(createServer(listener));

/** A server that says something to whoever connects and sent something. */
const say = (answer: (socket: Socket) => void) =>
  listen(createTcpServer((socket) => socket.once("data", () => answer(socket))));

async function dns(reply: (question: Question) => DnsReply): Promise<DnsServer> {
  const server = await startDns(reply);
  closing.push(server.close);
  return server;
}

/** A target to which only this machine's one address is open, on these ports. */
function target(ports: readonly number[], options: TargetOptions = {}) {
  return createTarget({ allowHttp: true, allow: [OPEN], ports, ...options });
}

/** How a call ended, in short. */
function shortly(called: Called): string {
  return called.kind === "answered" ? `${called.status}` : `${called.kind}: ${called.reason}`;
}

describe("no connection is opened to an address that may not be called (E4):", () => {
  it("in whatever notation the URL names it", async () => {
    const connect = vi.spyOn(Socket.prototype, "connect");
    const strict = createTarget({ allowHttp: true, ports: [canary.port] });
    for (const host of specialHosts()) {
      const called = await strict.request(`http://${host}:${canary.port}/`, POST);
      expect(called.kind, host).toBe("blocked");
    }
    expect(connect).not.toHaveBeenCalled();
    expect(await canary.reached()).toEqual([]);
  });

  it("and the canary hears of each such notation where the guard is open, or absent", async () => {
    const hosts = ["127.0.0.1", "127.0.0.2"].flatMap(spellIpv4);
    const open = createTarget({ allowHttp: true, ports: [canary.port], allow: ["127.0.0.0/8", "::1"] });
    for (const host of [...hosts, "localhost"])
      expect(shortly(await open.request(`http://${host}:${canary.port}/`, POST)), host).toBe("200");
    expect(await canary.reached()).toHaveLength(hosts.length + 1);
    await canary.forget();
    for (const host of [...hosts, "[::ffff:127.0.0.1]", "[::ffff:7f00:2]"])
      await naive(`http://${host}:${canary.port}/`);
    expect(await canary.reached()).toHaveLength(hosts.length + 2);
  });

  it("whatever a name resolves to, also where an address that may be called is among it", async () => {
    const connect = vi.spyOn(Socket.prototype, "connect");
    const hosts = [...new Set(specialHosts().flatMap(addressOf))].filter((address) => address !== OPEN);
    expect(hosts.length).toBeGreaterThan(200);
    const { resolver } = await dns(({ name }) => {
      const [kind, at] = name.split(".");
      const address = hosts[Number(at)] as string;
      return kind === "alone" ? [address] : kind === "first" ? [address, OPEN] : [OPEN, address];
    });
    const guarded = target([canary.port], { resolver });
    const names = hosts.flatMap((_host, at) => [`alone.${at}.test`, `first.${at}.test`, `last.${at}.test`]);
    for (const name of names)
      expect(shortly(await guarded.request(`http://${name}:${canary.port}/`, POST)), name).toBe(
        "blocked: address",
      );
    expect(connect).not.toHaveBeenCalled();
    expect(await canary.reached()).toEqual([]);
  });

  it("when a name is bound to another address between two looks at it", async () => {
    const rebinding = ({ kind, nth }: Question) =>
      kind === "AAAA" ? [] : [nth % 2 === 1 ? OPEN : "127.0.0.2"];
    const one = await dns(rebinding);
    const guarded = target([canary.port], { resolver: one.resolver });
    const url = `http://rebinding.test:${canary.port}/`;
    const ended = [];
    for (let call = 0; call < 4; call++) ended.push(shortly(await guarded.request(url, POST)));
    expect(ended).toEqual(["200", "blocked: address", "200", "blocked: address"]);
    // One look a call: what was judged is what was called.
    expect(one.questions.filter(({ kind }) => kind === "A")).toHaveLength(4);
    expect(await canary.reached()).toEqual([OPEN, OPEN]);

    // Who looks, judges, and has the connection look again is taken in.
    await canary.forget();
    const other = await dns(rebinding);
    await lookThenConnect(url, other.resolver);
    expect(await canary.reached()).toEqual(["127.0.0.2"]);
  });

  it("where a redirect points", async () => {
    const location = `http://127.0.0.2:${canary.port}/secret`;
    for (const status of [301, 302, 303, 307, 308]) {
      const port = await serve((_request, response) => response.writeHead(status, { location }).end());
      const called = await target([port, canary.port]).request(`http://${OPEN}:${port}/`, POST);
      expect(called).toMatchObject({ kind: "answered", status, headers: { location } });
    }
    expect(await canary.reached()).toEqual([]);
    const port = await serve((_request, response) => response.writeHead(302, { location }).end());
    await (await fetch(`http://${OPEN}:${port}/`)).text();
    expect(await canary.reached()).toEqual(["127.0.0.2"]);
  });

  it("by a proxy of the environment", async () => {
    const port = await serve((_request, response) => response.end("direct"));
    const proxy = `http://127.0.0.2:${canary.port}`;
    const program = `
      import { createTarget } from ${JSON.stringify(new URL("./target.ts", import.meta.url).href)};
      const target = createTarget({ allowHttp: true, allow: ["${OPEN}"], ports: [${port}] });
      const called = await target.request("http://${OPEN}:${port}/", { method: "GET", keepBody: true });
      console.log(called.kind, Buffer.from(called.body ?? []).toString());`;
    const names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [
        "--import",
        fileURLToPath(new URL("../../scripts/typescript.js", import.meta.url)),
        "--input-type=module",
        "--eval",
        program,
      ],
      {
        env: {
          ...process.env,
          NODE_USE_ENV_PROXY: "1",
          NO_PROXY: "",
          no_proxy: "",
          ...Object.fromEntries(names.map((name) => [name, proxy])),
        },
      },
    );
    expect(stdout).toBe("answered direct\n");
    expect(await canary.reached()).toEqual([]);
  });

  it("and nothing is sent where another answers than was called", async () => {
    let sent = "";
    let ended: Promise<void> | undefined;
    const other = createTcpServer((socket) => {
      socket.on("data", (data) => {
        sent += data;
      });
      ended = new Promise((resolve) => socket.once("close", () => resolve()));
    });
    const port = await listen(other, "127.0.0.2");
    const { connect } = Socket.prototype;
    vi.spyOn(Socket.prototype, "connect").mockImplementation(function (this: Socket) {
      return Reflect.apply(connect, this, [{ port, host: "127.0.0.2" }]);
    });
    expect(shortly(await target([port]).request(`http://${OPEN}:${port}/`, POST))).toBe("blocked: address");
    await ended;
    expect(sent).toBe("");
    vi.restoreAllMocks();
    const allowed = target([port], { allow: ["127.0.0.2"] });
    await allowed.request(`http://127.0.0.2:${port}/`, { ...POST, timeoutMs: 200 });
    expect(sent).toContain("POST / HTTP/1.1");
  });
});

describe("names", () => {
  it("that there are not, that nobody answers for, and that have no address are told apart from what is blocked", async () => {
    const { resolver } = await dns(({ name }) =>
      name === "no.test" ? "unknown" : name === "silent.test" ? "silence" : [],
    );
    const guarded = target([canary.port], { resolver });
    const call = async (name: string) =>
      shortly(await guarded.request(`http://${name}:${canary.port}/`, POST));
    expect(await Promise.all(["no.test", "silent.test", "empty.test"].map(call))).toEqual([
      "failed: name-not-found",
      "failed: name-unavailable",
      "failed: name-not-found",
    ]);
  });

  it("are given up after two seconds, whoever is asked", async () => {
    const never: Resolver = { resolve4: () => new Promise(() => {}), resolve6: () => new Promise(() => {}) };
    const called = await target([canary.port], { resolver: never }).request(
      `http://a.test:${canary.port}/`,
      POST,
    );
    expect(called).toMatchObject({ kind: "failed", reason: "name-unavailable" });
  });

  it("are called by the kind of address that came, where the other kind stays away", async () => {
    const { resolver } = await dns(({ kind }) => (kind === "AAAA" ? "silence" : [OPEN]));
    const called = await target([canary.port], { resolver }).request(
      `http://half.test:${canary.port}/`,
      POST,
    );
    expect(called).toMatchObject({ kind: "answered", address: OPEN });
  });

  it("with several addresses are called at the next where one does not take the connection", async () => {
    const port = await serve((_request, response) => response.end());
    const { resolver } = await dns(() => ["127.0.0.3", OPEN]);
    const guarded = target([port], { resolver, allow: ["127.0.0.0/8"] });
    expect(await guarded.request(`http://two.test:${port}/`, POST)).toMatchObject({
      kind: "answered",
      address: OPEN,
    });
  });

  it("with thousands of addresses cost four connections at most", async () => {
    const connect = vi.spyOn(Socket.prototype, "connect");
    const many: Resolver = {
      resolve4: async () => Array.from({ length: 2_000 }, (_, at) => `127.1.${at >> 8}.${at & 255}`),
      resolve6: async () => [],
    };
    const port = await serve(() => {});
    const called = await target([port], { resolver: many, allow: ["127.0.0.0/8"] }).request(
      `http://many.test:${port}/`,
      POST,
    );
    expect(called).toMatchObject({ kind: "failed", reason: "unreachable", code: "ECONNREFUSED" });
    expect(connect).toHaveBeenCalledTimes(4);
  });
});

describe("a call", () => {
  it("sends the request and tells status, some fields and the number of bytes", async () => {
    const seen: object[] = [];
    const port = await serve(async (request, response) => {
      const { method, url, headers } = request;
      seen.push({ method, url, headers, body: await text(request) });
      response
        .writeHead(201, { "retry-after": "7", "content-type": "text/plain", "x-other": "no" })
        .end("hello");
    });
    const called = await target([port]).request(`http://${OPEN}:${port}/a/../b?q=%20#f`, {
      ...POST,
      headers: {
        "content-type": "application/json",
        Host: "internal",
        Connection: "keep-alive",
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
        "Accept-Encoding": "gzip",
        "Proxy-Authorization": "Basic x",
      },
    });
    expect(called).toEqual({
      kind: "answered",
      status: 201,
      headers: { "retry-after": "7", "content-type": "text/plain" },
      bytes: 5,
      isComplete: true,
      body: null,
      address: OPEN,
      latencyMs: expect.any(Number),
    });
    expect(seen).toEqual([
      {
        method: "POST",
        url: "/b?q=%20",
        body: '{"a":"ü"}',
        headers: {
          "content-type": "application/json",
          host: `${OPEN}:${port}`,
          connection: "close",
          "content-length": "10",
          "accept-encoding": "identity",
        },
      },
    ]);
  });

  it("has a connection of its own, which is closed with it", async () => {
    const server = createServer((_request, response) => response.end("x"));
    let connections = 0;
    const closed: Promise<unknown>[] = [];
    server.on("connection", (socket) => {
      connections += 1;
      closed.push(once(socket, "close"));
    });
    const port = await listen(server);
    const { request } = target([port]);
    for (let call = 0; call < 3; call++) await request(`http://${OPEN}:${port}/`, POST);
    expect(connections).toBe(3);
    await Promise.all(closed);
  });

  it("gives the body only to whom wants it", async () => {
    const port = await serve((_request, response) => response.end("hello"));
    const called = await target([port]).request(`http://${OPEN}:${port}/`, { method: "GET", keepBody: true });
    expect(called).toMatchObject({ bytes: 5, body: Buffer.from("hello") });
  });

  it("fails with what the system says where nobody listens", async () => {
    const port = await serve(() => {});
    await closing.pop()!();
    expect(await target([port]).request(`http://${OPEN}:${port}/`, POST)).toMatchObject({
      kind: "failed",
      reason: "unreachable",
      code: "ECONNREFUSED",
      address: OPEN,
    });
  });

  it("ends when its caller says so, before, while it waits, and while the body comes", async () => {
    const ending = new AbortController();
    const port = await serve((_request, response) => {
      response.writeHead(200).write("x", () => ending.abort());
    });
    const { request } = target([port]);
    const asked = { ...POST, signal: ending.signal };
    expect(shortly(await request(`http://${OPEN}:${port}/`, asked))).toBe("failed: aborted");
    expect(shortly(await request(`http://${OPEN}:${port}/`, asked))).toBe("failed: aborted");
    const { resolver } = await dns(() => "silence");
    const other = new AbortController();
    const waiting = target([port], { resolver }).request(`http://silent.test:${port}/`, {
      ...POST,
      signal: other.signal,
    });
    other.abort();
    expect(shortly(await waiting)).toBe("failed: aborted");
  });

  it("leaves no listener on its caller's signal", async () => {
    const port = await serve((_request, response) => response.end());
    const { signal } = new AbortController();
    const added = vi.spyOn(signal, "addEventListener");
    const removed = vi.spyOn(signal, "removeEventListener");
    await target([port]).request(`http://${OPEN}:${port}/`, { ...POST, signal });
    expect(added.mock.calls.length).toBe(1);
    expect(removed.mock.calls.map(([, listener]) => listener)).toEqual(
      added.mock.calls.map(([, listener]) => listener),
    );
  });
});

describe("an answer", () => {
  const call = async (port: number, more: Partial<TargetRequest> = {}) =>
    target([port]).request(`http://${OPEN}:${port}/`, { ...POST, ...more });

  it("without an end is read up to 64 kB, and the connection closed", async () => {
    let sent = 0;
    let closed: Promise<unknown> | undefined;
    const port = await say((socket) => {
      closed = new Promise((resolve) => socket.once("close", resolve));
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      const pour = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(16_384))) sent += 16_384;
      };
      socket.on("drain", pour);
      pour();
    });
    expect(await call(port)).toMatchObject({
      kind: "answered",
      status: 200,
      bytes: 65_536,
      isComplete: false,
    });
    await closed;
    expect(sent).toBeLessThan(16 * 1024 ** 2);
    const kept = await call(port, { maxResponseBytes: 10, keepBody: true });
    expect(kept).toMatchObject({ bytes: 10, body: Buffer.alloc(10), isComplete: false });
  });

  it("whose body drips, breaks off or lies about its length stands, as one that is not complete", async () => {
    const drip = await say((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
      const timer = setInterval(() => socket.write("x"), 20);
      socket.once("close", () => clearInterval(timer));
    });
    const short = await say((socket) => socket.end("HTTP/1.1 204 OK\r\n\r\n"));
    const lies = await say((socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nfive!"));
    const chunks = await say((socket) =>
      socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\nno chunk"),
    );
    const reset = await say((socket) =>
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nfive!", () => socket.resetAndDestroy()),
    );
    expect(await call(drip, { timeoutMs: 1_000 })).toMatchObject({ status: 200, isComplete: false });
    expect(await call(short)).toMatchObject({ status: 204, bytes: 0, isComplete: true });
    expect(await call(lies)).toMatchObject({ status: 200, bytes: 5, isComplete: false });
    expect(await call(chunks)).toMatchObject({ status: 200, bytes: 5, isComplete: false });
    expect(await call(reset)).toMatchObject({ kind: expect.stringMatching("answered|failed") });
  });

  it("that never comes, or never gets beyond its beginnings, is none", async () => {
    const silent = await say(() => {});
    const slow = await say((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nX-Slow: ");
      const timer = setInterval(() => socket.write("x"), 20);
      socket.once("close", () => clearInterval(timer));
    });
    const hints = await say((socket) => {
      const timer = setInterval(() => socket.write("HTTP/1.1 103 Early Hints\r\n\r\n"), 20);
      socket.once("close", () => clearInterval(timer));
    });
    for (const port of [silent, slow, hints])
      expect(shortly(await call(port, { timeoutMs: 200 }))).toBe("failed: timeout");
  });

  it("that is not HTTP, is another protocol, or has a head without end is none", async () => {
    const answers = [
      "SSH-2.0-OpenSSH_9.6\r\n",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
      `HTTP/1.1 200 OK\r\n${"X-Head: 0123456789\r\n".repeat(2_000)}\r\n`,
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
      "",
    ];
    for (const answer of answers) {
      const port = await say((socket) => socket.end(answer));
      expect(shortly(await call(port)), answer.slice(0, 60)).toBe("failed: no-answer");
    }
    let closed: Promise<unknown> | undefined;
    const held = await say((socket) => {
      closed = new Promise((resolve) => socket.once("close", resolve));
      socket.write(answers[1] as string);
    });
    expect(shortly(await call(held))).toBe("failed: no-answer");
    await closed;
    const reset = await say((socket) => socket.resetAndDestroy());
    expect(await call(reset)).toMatchObject({ kind: "failed", reason: "no-answer", code: "ECONNRESET" });
  });
});

describe("with TLS", () => {
  const names: string[] = [];
  const secured = async (hosts: readonly string[]) => {
    const { key, cert } = makeCertificate(hosts);
    const server = createTlsServer({ key, cert }, (request, response) => {
      names.push((request.socket as TLSSocket & { servername?: string }).servername || "");
      response.end(`${request.headers.host}`);
    });
    return { port: await listen(server as unknown as Server), ca: cert };
  };

  it("the certificate has to be the host's of the URL, not the address's", async () => {
    const { resolver } = await dns(() => [OPEN]);
    const { port, ca } = await secured(["hook.test"]);
    const guarded = target([port], { resolver, ca });
    const called = await guarded.request(`https://hook.test.:${port}/`, { ...POST, keepBody: true });
    expect(called).toMatchObject({ kind: "answered", status: 200 });
    expect(names.at(-1)).toBe("hook.test");
    for (const host of ["other.test", "a.hook.test", OPEN])
      expect(shortly(await guarded.request(`https://${host}:${port}/`, POST)), host).toBe(
        "failed: untrusted",
      );
  });

  it("an address in the URL has to be in the certificate", async () => {
    const { port, ca } = await secured([OPEN]);
    expect(shortly(await target([port], { ca }).request(`https://${OPEN}:${port}/`, POST))).toBe("200");
    expect(names.at(-1)).toBe("");
  });

  it("a certificate of nobody's is refused, also where the environment says that none are checked", async () => {
    const { port } = await secured([OPEN]);
    const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    try {
      const called = await target([port]).request(`https://${OPEN}:${port}/`, POST);
      expect(called).toMatchObject({ reason: "untrusted", code: "DEPTH_ZERO_SELF_SIGNED_CERT" });
    } finally {
      if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
      else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before;
    }
  });

  it("a server that speaks none, or stops in the middle of it, is not trusted, or in time", async () => {
    const plain = await say((socket) => socket.end("HTTP/1.1 200 OK\r\n\r\n"));
    expect(shortly(await target([plain]).request(`https://${OPEN}:${plain}/`, POST))).toBe(
      "failed: untrusted",
    );
    const silent = await say(() => {});
    const called = await target([silent]).request(`https://${OPEN}:${silent}/`, { ...POST, timeoutMs: 200 });
    expect(shortly(called)).toBe("failed: timeout");
  });
});

/** The address that a URL's host is, where it is one. */
function addressOf(host: string): string[] {
  try {
    const { hostname } = new URL(`http://${host}`);
    return [hostname.replace(/^\[(.*)\]$/, "$1")];
  } catch {
    return [];
  }
}

/** No guard at all. */
function naive(url: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => response.resume().once("end", resolve)).once("error", reject);
  });
}

/** The guard that everybody writes first. */
async function lookThenConnect(url: string, resolver: Resolver): Promise<void> {
  const { hostname } = new URL(url);
  const addresses = await resolver.resolve4(hostname);
  if (addresses.some((address) => address !== OPEN)) return;
  await new Promise((resolve, reject) => {
    const lookup = (name: string, _options: object, done: (error: null, found: object[]) => void) => {
      void resolver.resolve4(name).then((found) =>
        done(
          null,
          found.map((address) => ({ address, family: 4 })),
        ),
      );
    };
    get(url, { agent: false, lookup: lookup as never }, (response) =>
      response.resume().once("end", resolve),
    ).once("error", reject);
  });
}
