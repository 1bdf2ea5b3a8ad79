// Bad input: what a caller may send wrongly or with intent, as raw bytes, and the one answer that each gets. None may be
// answered 5xx, leave a trace in the store, or be told back what it sent.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { PROBLEMS, type ProblemName } from "../src/core/problem.ts";
import { type DoorOptions, type OpenDoor, openTestDoor, PUBLIC_URL } from "./open-door.ts";

/** Stands in the bad parts of the requests; no answer may hold it. */
const CANARY = "canary1942";
const GOOD = '{"text":"hello"}';

interface Row {
  readonly what: string;
  /** As sent; `\n` stands for the line end of HTTP. */
  readonly send: string | Uint8Array;
  readonly status: number;
  readonly problem: ProblemName;
  /** A header field that the answer must have. */
  readonly field?: RegExp;
  readonly closes?: boolean;
}

let door: OpenDoor;
beforeAll(async () => {
  door = await openTestDoor({
    http: { bodyMs: 1000 },
    server: { headersMs: 1000, requestMs: 5000, checkEveryMs: 50 },
  });
});
afterAll(() => door.close());

const head = (text: string) => text.replaceAll(/\r?\n/g, "\r\n");
const auth = () => `Authorization: Bearer ${door.keys.ada}`;

/** A POST to an operation; `fields` may replace the usual ones. */
function post(fields: string, body: string | Uint8Array = GOOD, path = "/operations/echo"): Buffer {
  const bytes = Buffer.from(body);
  const typed = /^content-type:/im.test(fields) ? "" : "Content-Type: application/json\n";
  const sized = /^(content-length|transfer-encoding):/im.test(fields)
    ? ""
    : `Content-Length: ${bytes.length}\n`;
  const lines = `POST ${path} HTTP/1.1\nHost: x\n${auth()}\n${typed}${sized}${fields}${fields === "" ? "" : "\n"}\n`;
  return Buffer.concat([Buffer.from(head(lines), "latin1"), bytes]);
}
const plain = (line: string, fields = "") =>
  head(`${line} HTTP/1.1\nHost: x\n${auth()}\n${fields}${fields === "" ? "" : "\n"}\n`);

/** Whether a whole answer (and not only an interim one) has come. */
function isWhole(received: string): boolean {
  const last = received.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, "");
  const at = last.indexOf("\r\n\r\n");
  const length = /^content-length: (\d+)/im.exec(last)?.[1];
  return at !== -1 && length !== undefined && last.length - at - 4 >= Number(length);
}

async function judge(
  opened: OpenDoor,
  { send, status, problem, field, closes = false }: Row,
): Promise<string> {
  const before = [await opened.count(), opened.logs.length, (await opened.stored()).length];
  const received = await opened.raw(send, closes ? {} : { enough: isWhole });
  const at = received.indexOf("\r\n\r\n");
  const [fields, body] = [received.slice(0, at), received.slice(at + 4)];
  expect(fields.split("\r\n")[0]).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  expect(fields).toMatch(/^content-type: application\/problem\+json$/im);
  expect(fields).toMatch(/^cache-control: private, no-store$/im);
  if (field !== undefined) expect(fields).toMatch(field);
  const document = JSON.parse(body);
  expect(document).toMatchObject({
    type: `${PUBLIC_URL}/problems/${problem}`,
    title: PROBLEMS[problem].title,
    status,
  });
  expect(received).not.toContain(CANARY);
  expect(received).not.toMatch(/\bat .+:\d+:\d+|node_modules|\.ts\b|FST_|HPE_/);
  expect([await opened.count(), opened.logs.length, (await opened.stored()).length]).toEqual(before);
  return body;
}

function table(title: string, rows: () => readonly Row[]): void {
  // The rows hold keys that there are only once the door is open, so their names are made first.
  describe(title, () => {
    it.each(namesOf(rows))("%s", async (_name, index) => {
      await judge(door, rows()[index] as Row);
    });
  });
}

function namesOf(rows: () => readonly Row[]): [string, number][] {
  const keys = { ada: "", bob: "", submitter: "", expired: "" };
  door ??= { keys } as unknown as OpenDoor;
  return rows().map(({ what, status }, index) => [`${what} is answered ${status}`, index]);
}

table("framing", () => {
  const row = (
    what: string,
    send: string | Uint8Array,
    status = 400,
    problem: ProblemName = "invalid-request",
  ) => ({
    ...{ what, send, status, problem },
    closes: true,
  });
  return [
    row("a length and a transfer coding", post("Content-Length: 16\nTransfer-Encoding: chunked")),
    row("two lengths", post("Content-Length: 16\nContent-Length: 17")),
    row("the same length twice", post("Content-Length: 16\nContent-Length: 16")),
    row("two transfer codings", post("Transfer-Encoding: gzip, chunked", `10\r\n${GOOD}\r\n0\r\n\r\n`)),
    row("a transfer coding that is not chunked", post("Transfer-Encoding: gzip")),
    row(
      "a transfer coding in HTTP/1.0",
      Buffer.from(
        post("Transfer-Encoding: chunked", `10\r\n${GOOD}\r\n0\r\n\r\n`)
          .toString("latin1")
          .replace("1.1", "1.0"),
      ),
    ),
    row("a length in the trailers", post("Transfer-Encoding: chunked", "0\r\nContent-Length: 5\r\n\r\n")),
    row("a length that is none", post("Content-Length: 1e1")),
    row("a negative length", post("Content-Length: -1")),
    row("a bare CR in a field", Buffer.from(`GET /jobs HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n`)),
    row("a bare LF in a field", Buffer.from(`GET /jobs HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n`)),
    row("bare LFs for line ends", Buffer.from(`GET /jobs HTTP/1.1\nHost: x\n\n`)),
    row("a bare LF behind a chunk's size", post("Transfer-Encoding: chunked", `10\n${GOOD}\r\n0\r\n\r\n`)),
    row("a folded field", Buffer.from(`GET /jobs HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n`)),
    row("a NUL in a field", Buffer.from(`GET /jobs HTTP/1.1\r\nHost: x\r\nX: a\0${CANARY}\r\n\r\n`)),
    row("a space before the colon", plain("GET /jobs", "X : a")),
    row("a chunk size that is none", post("Transfer-Encoding: chunked", `xyz\r\n${CANARY}\r\n0\r\n\r\n`)),
    row("a method that is none", plain("FETCH /jobs")),
    row("no HTTP at all", `${CANARY}\r\n\r\n`),
    row("HTTP/0.9", "GET /jobs\r\n\r\n"),
    row("two hosts", plain("GET /jobs", "Host: y")),
    row("a host that is none", head(`GET /jobs HTTP/1.1\nHost: ${CANARY} y\n${auth()}\n\n`)),
    row("a host with a path", head(`GET /jobs HTTP/1.1\nHost: y/${CANARY}\n${auth()}\n\n`)),
    row("two content types", post(`Content-Type: application/json\nContent-Type: text/${CANARY}`)),
    row("no host", head(`GET /jobs HTTP/1.1\n${auth()}\n\n`)),
    row(
      "HTTP/2.0 in the request line",
      head(`GET /jobs HTTP/2.0\nHost: x\n${auth()}\n\n`),
      505,
      "version-not-supported",
    ),
    row(
      "HTTP/3.0 in the request line",
      head(`GET /jobs HTTP/3.0\nHost: x\n${auth()}\n\n`),
      505,
      "version-not-supported",
    ),
    row("headers of 20 kB", plain("GET /jobs", `X: ${CANARY.repeat(2000)}`), 431, "headers-too-large"),
    row("a path of 20 kB", plain(`GET /jobs/${CANARY.repeat(2000)}`), 431, "headers-too-large"),
    row(
      "101 fields",
      plain("GET /jobs", Array.from({ length: 99 }, (_, n) => `X${n}: 1`).join("\n")),
      431,
      "headers-too-large",
    ),
    row("headers that never end", `GET /jobs HTTP/1.1\r\nHost: x\r\n`, 408, "request-timeout"),
  ];
});

table("a body", () => {
  const row = (
    what: string,
    send: Uint8Array,
    status: number,
    problem: ProblemName,
    more: Partial<Row> = {},
  ) => ({ what, send, status, problem, ...more });
  const deep = (depth: number) => `{"text":${"[".repeat(depth)}${"]".repeat(depth)}}`;
  const json = (what: string, body: string | Uint8Array) => row(what, post("", body), 400, "invalid-json");
  const typed = (what: string, fields: string) => row(what, post(fields), 415, "unsupported-media-type");
  const wrong = (what: string, body: string) => row(what, post("", body), 422, "invalid-input");
  return [
    row("that never comes", post("Content-Length: 100"), 408, "request-timeout"),
    row("that is declared too large", post("Content-Length: 2001"), 413, "too-large"),
    row("that is declared beyond all bounds", post("Content-Length: 99999999999999999"), 413, "too-large"),
    row(
      "that is too large in chunks",
      post("Transfer-Encoding: chunked", `7d1\r\n${"x".repeat(2001)}\r\n0\r\n\r\n`),
      413,
      "too-large",
    ),
    row("that is too large", post("", `{"text":"${CANARY.repeat(300)}"}`), 413, "too-large"),
    typed("with an empty type", "Content-Type:"),
    row(
      "without a type",
      Buffer.from(post("").toString("latin1").replace("Content-Type: application/json\r\n", "")),
      415,
      "unsupported-media-type",
    ),
    typed("of a type that is none", `Content-Type: ${CANARY}`),
    typed("that is XML", "Content-Type: application/xml"),
    typed("that is text", "Content-Type: text/plain"),
    typed("that is a form", "Content-Type: application/x-www-form-urlencoded"),
    typed("that is almost JSON", "Content-Type: application/json5"),
    typed("in Latin 1", "Content-Type: application/json; charset=iso-8859-1"),
    typed("in UTF-16", 'Content-Type: application/json; charset="utf-16"'),
    typed("that is compressed", "Content-Type: application/json\nContent-Encoding: gzip"),
    json("that is empty", ""),
    json("that is cut off", '{"text":"hel'),
    json("with a comma too many", '{"text":"a",}'),
    json("with NaN", '{"text":NaN}'),
    json("with a comment", `{"text":"a"} // ${CANARY}`),
    json("with two values", `${GOOD}${GOOD}`),
    json("with __proto__", '{"text":"a","__proto__":{"count":1}}'),
    json("with __proto__ in escapes", '{"text":"a","\\u005f_proto__":{"count":1}}'),
    json("with a name twice", `{"text":"a","text":"${CANARY}"}`),
    json("that is not UTF-8", Buffer.from([0x7b, 0x22, 0x74, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d])),
    json("with a byte order mark", `\ufeff${GOOD}`),
    json("of depth 65", deep(64)),
    json("of depth 900", deep(900)),
    wrong("of depth 64", deep(63)),
    wrong("of the wrong type", '["text"]'),
    wrong("without what is required", "{}"),
    wrong("with an unknown member", `{"text":"a","${CANARY}":"${CANARY}"}`),
    wrong("that says whose it is", '{"text":"a","owner":"bob"}'),
    wrong("that says how it ends", '{"text":"a","status":"completed"}'),
    wrong("with 1e400", '{"text":"a","count":1e400}'),
    wrong("with 2^53 + 1", '{"text":"a","count":9007199254740993}'),
    wrong("with a string that is too long", `{"text":"${CANARY.repeat(150)}"}`),
  ];
});

table("a header field", () => {
  const row = (what: string, fields: string, problem: ProblemName = "invalid-request") => ({
    ...{ what, send: post(fields), problem },
    status: PROBLEMS[problem].status,
  });
  const key = (what: string, fields: string) => row(what, fields, "invalid-idempotency-key");
  return [
    key("an empty key", "Idempotency-Key:"),
    key("a quoted empty key", 'Idempotency-Key: ""'),
    key("a key of 256 characters", `Idempotency-Key: ${"k".repeat(256)}`),
    key("a key with an umlaut", "Idempotency-Key: k\u00e4"),
    key("a key with a tab", "Idempotency-Key: a\tb"),
    key("two keys", `Idempotency-Key: ${CANARY}\nIdempotency-Key: ${CANARY}`),
    row("a preference that nobody knows, to be handled strictly", `Prefer: handling=strict, ${CANARY}`),
    row("a deadline that is none", `Coatcheck-Deadline: ${CANARY}`),
    row("a delay that is none", `Coatcheck-Delay: ${CANARY}`),
    row("a delay of years", "Coatcheck-Delay: 999999999"),
    row("a priority above the tier's", "Coatcheck-Priority: 100"),
    row("a priority that is none", `Coatcheck-Priority: ${CANARY}`),
    row("a webhook, which this server has not", `Coatcheck-Webhook: https://${CANARY}.example`),
  ];
});

table("a query", () => {
  const row = (what: string, query: string) => ({
    ...{ what, send: plain(`GET /jobs?${query}`), status: 400 },
    problem: "invalid-query" as const,
  });
  return [
    row("a limit below nothing", "limit=-1"),
    row("a limit of nothing", "limit=0"),
    row("a limit beyond all bounds", "limit=99999999999999999999"),
    row("a limit that is none", `limit=${CANARY}`),
    row("an unknown filter", `${CANARY}=1`),
    row("an unknown status", `status=queued,${CANARY}`),
    row("an unknown operation", `operation=${CANARY}`),
    row("a time that is none", `createdFrom=${CANARY}`),
    row("a cursor that nobody gave", `cursor=${CANARY}`),
    row("two cursors", "cursor=a&cursor=b"),
    row("an escape that is none", `status=%zz${CANARY}`),
    {
      ...row("a dry run that is neither", ""),
      send: post("", GOOD, `/operations/echo?dry-run=${CANARY}`),
    },
  ];
});

describe("credentials", () => {
  const cases = (): [string, string, number, ProblemName, RegExp][] => {
    const key = door.keys.ada;
    const plainChallenge = /^www-authenticate: Bearer realm="coatcheck"$/im;
    const invalid = /^www-authenticate: Bearer realm="coatcheck", error="invalid_token"$/im;
    return [
      ["none", "", 401, "unauthenticated", plainChallenge],
      ["a wrong key", `Authorization: Bearer ck_${CANARY}`, 401, "unauthenticated", invalid],
      ["an expired key", `Authorization: Bearer ${door.keys.expired}`, 401, "unauthenticated", invalid],
      ["no Bearer", `Authorization: Basic ${CANARY}`, 401, "unauthenticated", /^www-authenticate: Bearer/im],
      [
        "the key twice",
        `Authorization: Bearer ${key}\nAuthorization: Bearer ${key}`,
        401,
        "unauthenticated",
        /^www-authenticate: Bearer/im,
      ],
      [
        "a key without the scope",
        `Authorization: Bearer ${door.keys.submitter}`,
        403,
        "forbidden",
        /^www-authenticate: Bearer realm="coatcheck", error="insufficient_scope", scope="(read|cancel)"$/im,
      ],
    ];
  };
  const paths = [
    "GET /jobs",
    "HEAD /jobs/x",
    "GET /jobs/x",
    "DELETE /jobs/x",
    "GET /jobs/x/result",
    "GET /jobs/x/result/y",
  ];
  it.each(cases().map(([what], index) => [what, index] as const))(
    "that are %s are refused by every route, before anything else is looked at",
    async (_what, index) => {
      const [what, fields, status, problem, field] = cases()[index]!;
      for (const path of [
        ...paths.filter((line) => !line.startsWith("HEAD")),
        "PUT /jobs/x",
        "POST /operations/echo",
      ]) {
        // The submitter may submit; what is wrong besides is found by then.
        if (status === 403 && /^P/.test(path)) continue;
        const send = head(
          `${path}?limit=-1 HTTP/1.1\nHost: x\nContent-Type: text/plain\nContent-Length: 1\n${fields}\n\n{`.replace(
            "\n\n\n",
            "\n\n",
          ),
        );
        await judge(door, { what, send, status, problem, field });
      }
    },
  );

  it("in the query are refused, and not repeated", async () => {
    const send = head(`GET /jobs?access_token=${door.keys.ada} HTTP/1.1\nHost: x\n\n`);
    const body = await judge(door, { what: "", send, status: 401, problem: "unauthenticated" });
    expect(body).not.toContain(door.keys.ada);
  });
});

describe("D1: an id that is not the caller's", () => {
  it("is answered as one that never was, byte for byte, on every route", async () => {
    const { ask, submit } = door;
    const id = await submit({ as: "bob", text: CANARY });
    const answerOf = async (path: string, method: string) => {
      const { status, text, headers } = await ask(path, { method });
      // Clients of a HEAD close their connections.
      const ofAnswer = [...headers].filter(([name]) => !["date", "connection", "keep-alive"].includes(name));
      return { status, text, headers: ofAnswer };
    };
    const ids = [
      id,
      id.toUpperCase(),
      id.slice(0, -1),
      `${id}0`,
      "x",
      "9f0c2a7e-1f7c-4a52-9a7d-0d5f3f6c8b21",
      "%00",
      `${id}%00`,
      "..%2fjobs",
      "..%2f..%2fetc%2fpasswd",
      "%2e%2e%2f",
      "x".repeat(100),
      "x".repeat(101),
      "x".repeat(1001),
      "x".repeat(5000),
      "constructor",
      "__proto__",
    ];
    for (const method of ["GET", "DELETE", "HEAD"]) {
      const unknown = await answerOf("/jobs/0000000000000000000000000", method);
      expect(unknown.status).toBe(404);
      for (const other of ids) {
        const paths =
          method === "DELETE"
            ? [`/jobs/${other}`]
            : [`/jobs/${other}`, `/jobs/${other}/result`, `/jobs/${other}/result/a`];
        for (const path of paths) expect([path, await answerOf(path, method)]).toEqual([path, unknown]);
      }
    }
    expect((await ask(`/jobs/${id}`, { as: "bob" })).json.status).toBe("queued");
  });

  it("is not told from others by a path that is no route", async () => {
    const unknown = await door.ask("/jobs/0000000000000000000000000");
    for (const path of [
      "/nothing",
      "/jobs/",
      "/jobs//",
      "/Jobs",
      "/jobs/x/",
      "/jobs/x/results",
      "/operations",
      "/jobs/x/result/a/b",
    ]) {
      const answer = await door.ask(path);
      expect([path, answer.status, answer.text]).toEqual([path, 404, unknown.text]);
      expect(answer.headers.get("cache-control")).toBe("private, no-store");
    }
  });
});

describe("a path", () => {
  it("whose escapes are none is answered 400", async () => {
    for (const path of ["/jobs/%zz", "/jobs/%", "/jobs/%c3%28", `/jobs/${CANARY}%zz`]) {
      const send = plain(`GET ${path}`);
      await judge(door, { what: "", send, status: 400, problem: "invalid-request" });
    }
  });

  it("with a scheme and a host before it is the same path (RFC 9112 §3.2.2)", async () => {
    const received = await door.raw(plain("GET http://x/jobs?limit=1"), { enough: isWhole });
    expect(received).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe("a known route", () => {
  it.each([
    ["/operations/echo", "POST", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "PROPFIND", "TRACE"]],
    ["/deep/empty", "POST", ["GET", "DELETE", "QUERY"]],
    ["/jobs", "GET, HEAD", ["POST", "PUT", "DELETE", "PATCH", "MKCOL"]],
    ["/jobs/x", "GET, HEAD, PUT, DELETE", ["POST", "PATCH", "LOCK"]],
    ["/jobs/x/result", "GET, HEAD", ["POST", "PUT", "DELETE"]],
    ["/jobs/x/result/y", "GET, HEAD", ["POST", "DELETE"]],
    ["/problems", "GET, HEAD", ["POST"]],
    ["/problems/gone", "GET, HEAD", ["POST", "DELETE"]],
  ])("%s answers other methods 405, and names %s", async (path, allow, methods) => {
    for (const method of methods) {
      const send = plain(`${method} ${path}`, `Content-Type: ${CANARY}\nContent-Length: 0`);
      const received = await door.raw(send, {
        enough: (text) => (method === "HEAD" ? text.includes("\r\n\r\n") : isWhole(text)),
      });
      expect([method, received.split("\r\n")[0]]).toEqual([method, "HTTP/1.1 405 Method Not Allowed"]);
      expect(received).toMatch(new RegExp(`^allow: ${allow}\\r$`, "im"));
      expect(received).not.toContain(CANARY);
    }
    const options = await door.raw(plain(`OPTIONS ${path}`), { enough: (text) => text.includes("\r\n\r\n") });
    expect(options).toMatch(/^HTTP\/1\.1 204 /);
    expect(options).toMatch(new RegExp(`^allow: ${allow}\\r$`, "im"));
  });
});

describe("a spoofed X-Forwarded field or Host", () => {
  it("changes no URL of an answer", async () => {
    const answer = await door.raw(
      post("X-Forwarded-Host: evil.example\nX-Forwarded-Proto: ftp\nForwarded: host=evil.example"),
      {
        enough: isWhole,
      },
    );
    expect(answer).toContain(`location: ${PUBLIC_URL}/jobs/`);
    expect(answer).not.toContain("evil.example");
    const spoofed = Buffer.from(post("")).toString("latin1").replace("Host: x", "Host: evil.example");
    const other = await door.raw(spoofed, { enough: isWhole });
    expect(other).toContain(`location: ${PUBLIC_URL}/jobs/`);
    expect(other).not.toContain("evil.example");
  });
});

describe("a request that is refused unread", () => {
  it("is told so before it sends its body, where it waits to be told", async () => {
    const headers = `Authorization: Bearer x\nExpect: 100-continue\nContent-Type: video/mp4\nContent-Length: 900`;
    const received = await door.raw(head(`POST /operations/film HTTP/1.1\nHost: x\n${headers}\n\n`), {
      enough: isWhole,
    });
    expect(received).toMatch(/^HTTP\/1\.1 401 /);
  });

  it("keeps its connection no longer than a moment, if it sends on", async () => {
    const opened = await openOwn({ http: { lingerMs: 50 } });
    // No `enough`: it resolves once the server has closed the connection.
    const received = await opened.raw(
      head(`POST /operations/film HTTP/1.1\nHost: x\nContent-Length: 900000\n\nab`),
    );
    expect(received).toMatch(/^HTTP\/1\.1 401 /);
  });

  it("does not end the connection where all of it came", async () => {
    const received = await door.raw(Buffer.concat([post("", "{"), post("")]), {
      enough: (text) => text.includes("202 Accepted"),
    });
    expect(received).toMatch(/^HTTP\/1\.1 400 [\s\S]*HTTP\/1\.1 202 /);
  });
});

it("memory stays flat under thousands of bad requests, and the next good one is accepted", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const bad = Buffer.concat(Array.from({ length: 100 }, () => post("", '{"text":')));
  const bytesAfter = async (rounds: number) => {
    for (let round = 0; round < rounds; round++) {
      await door.raw(bad, { enough: (text) => text.split("HTTP/1.1 400 ").length === 101 });
    }
    collect();
    return process.memoryUsage().heapUsed;
  };
  // What is compiled and cached on the way is there after the first rounds.
  const before = await bytesAfter(50);
  const after = await bytesAfter(50);
  expect(after - before).toBeLessThan(5000 * 500);
  const good = await door.ask("/operations/echo", {
    method: "POST",
    body: GOOD,
    headers: { "content-type": "application/json" },
  });
  expect(good.status).toBe(202);
});

let own: OpenDoor | undefined;
afterEach(async () => {
  await own?.close();
  own = undefined;
});

async function openOwn(options: DoorOptions): Promise<OpenDoor> {
  own = await openTestDoor(options);
  return own;
}
