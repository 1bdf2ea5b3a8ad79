import { createHash } from "node:crypto";
import { once } from "node:events";
import { request } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { type DoorOptions, type OpenDoor, openTestDoor, PUBLIC_URL } from "../../test/open-door.ts";

let door: OpenDoor;
afterEach(() => door?.close());

async function open(options?: DoorOptions): Promise<OpenDoor> {
  door = await openTestDoor(options);
  return door;
}

const FILM = Buffer.from("not really a film");
const raw = (headers: Record<string, string> = {}, body: Uint8Array = FILM) => ({
  method: "POST",
  body,
  headers: { "content-type": "video/mp4", ...headers },
});

function form(fields: Record<string, string>, file?: { name: string; type: string; bytes?: Uint8Array }) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  if (file !== undefined) {
    body.append("file", new Blob([new Uint8Array(file.bytes ?? FILM)], { type: file.type }), file.name);
  }
  return { method: "POST", body };
}
const MP4 = { name: "film.mp4", type: "video/mp4" };

describe("a raw body", () => {
  it("is stored before the 202, and its input comes from the query", async () => {
    const { ask, claim, blobs, ledger } = await open();
    const answer = await ask(
      "/operations/watch?text=hello&count=3",
      raw({ "content-disposition": 'attachment; filename="../x/fil\u0001m.mp4"'.replace("\u0001", "") }),
    );
    expect(answer.status).toBe(202);
    const job = await claim("watch");
    expect(job.input).toBe('{"text":"hello","count":3}');
    expect(job.upload).toMatchObject({
      name: "film.mp4",
      type: "video/mp4",
      bytes: FILM.length,
      sha256: createHash("sha256").update(FILM).digest("hex"),
    });
    const stream = (await blobs.open(job.upload!.blob))!;
    expect(Buffer.concat(await stream.toArray())).toEqual(FILM);
    expect(job.upload!.blob).toContain(ledger.jobs.address("ada", job.id));
  });

  it("of an operation that takes a file and JSON may be either", async () => {
    const { ask, claim } = await open();
    const headers = { "content-type": "application/json" };
    await ask("/operations/watch", { method: "POST", body: '{"text":"a"}', headers });
    expect((await claim("watch")).upload).toBeNull();
  });

  it("B2, B3: is told from another by its bytes, and a repeat leaves no second file", async () => {
    const { ask, stored, count } = await open();
    const key = { "idempotency-key": "k" };
    const first = await ask("/operations/film", raw(key));
    const second = await ask("/operations/film", raw(key));
    expect(second.json.id).toBe(first.json.id);
    expect(second.headers.get("idempotency-replayed")).toBe("true");
    expect((await ask("/operations/film", raw(key, Buffer.from("another")))).status).toBe(422);
    expect(await count()).toBe(1);
    expect(await stored()).toHaveLength(1);
  });

  it.each([
    ["of another type", "film", { "content-type": "text/html" }, FILM, 415],
    ["of no type", "film", { "content-type": "" }, FILM, 415],
    ["that is compressed", "film", { "content-encoding": "gzip" }, FILM, 415],
    ["that is too large", "film", {}, Buffer.alloc(1001), 413],
    ["with an input that is wrong", "watch?text=a&count=x", {}, FILM, 422],
    ["with an input that is missing", "watch", {}, FILM, 422],
    ["with a parameter named __proto__", "watch?text=a&__proto__=b", {}, FILM, 400],
  ])("%s is refused and leaves nothing behind", async (_what, path, headers, body, status) => {
    const { ask, stored, count } = await open();
    const answer = await ask(`/operations/${path}`, raw(headers as Record<string, string>, body));
    expect(answer.status).toBe(status);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(await stored()).toEqual([]);
    expect(await count()).toBe(0);
  });

  it("of unknown length is refused at the limit", async () => {
    const { port, keys, stored } = await open();
    const status = await new Promise((resolve, reject) => {
      const sending = request({
        port,
        method: "POST",
        path: "/operations/film",
        headers: {
          authorization: `Bearer ${keys.ada}`,
          "content-type": "video/mp4",
          "transfer-encoding": "chunked",
        },
      });
      sending.on("response", (answer) => resolve(answer.resume().statusCode)).on("error", reject);
      sending.write(Buffer.alloc(900));
      sending.end(Buffer.alloc(900));
    });
    expect(status).toBe(413);
    expect(await stored()).toEqual([]);
  });

  it("of a job that is refused, or only rehearsed, is removed", async () => {
    const { ask, stored } = await open({ tier: { active: 1 } });
    expect((await ask("/operations/film?dry-run=true", raw())).json).toMatchObject({ position: 1 });
    expect(await stored()).toEqual([]);
    expect((await ask("/operations/film", raw())).status).toBe(202);
    expect((await ask("/operations/film", raw())).status).toBe(429);
    expect(await stored()).toHaveLength(1);
  });

  it("that breaks off leaves nothing, and no job", async () => {
    const { raw: write, keys, stored, count, ask } = await open();
    await write(
      `POST /operations/film HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${keys.ada}\r\n` +
        "Content-Type: video/mp4\r\nContent-Length: 500\r\nExpect: 100-continue\r\n\r\nhalf",
      { enough: (received) => received.includes("100 Continue") },
    );
    // The answer to a later request, on another connection, is no proof that the first is over: its end is.
    await expect.poll(stored).toEqual([]);
    expect(await count()).toBe(0);
    expect((await ask("/operations/film", raw())).status).toBe(202);
  });

  it("that falls silent is answered 408", async () => {
    const { raw: write, keys, stored } = await open({ http: { uploadIdleMs: 50 } });
    const received = await write(
      `POST /operations/film HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${keys.ada}\r\n` +
        "Content-Type: video/mp4\r\nContent-Length: 500\r\n\r\nhalf",
      { enough: (text) => text.includes("request-timeout") },
    );
    expect(received).toContain("HTTP/1.1 408 ");
    expect(await stored()).toEqual([]);
  });

  it("beyond the number that may be under way is answered 503", async () => {
    const { ask } = await open({ http: { uploads: 0 } });
    const answer = await ask("/operations/film", raw());
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toMatch(/^[1-9]/);
  });
});

describe("uploads under way", () => {
  it("of one owner leave room for everybody else's", async () => {
    const { raw: write, keys, ask } = await open({ http: { uploadsPerOwner: 1 } });
    const half =
      `POST /operations/film HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${keys.ada}\r\n` +
      "Content-Type: video/mp4\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n";
    let asked: Awaited<ReturnType<typeof ask>>[] = [];
    const received = await write(half, {
      after: async (socket) => {
        // By its word to go on the upload is under way.
        await once(socket, "data");
        asked = [
          await ask("/operations/film", raw()),
          await ask("/operations/film", { ...raw(), as: "bob" }),
        ];
        socket.write("8 bytes.");
      },
      enough: (text) => text.includes('"status":"queued"'),
    });
    const [own, other] = asked;
    expect(own?.json).toMatchObject({ status: 503, type: `${PUBLIC_URL}/problems/unavailable` });
    expect(own?.headers.get("retry-after")).toMatch(/^[1-9]/);
    expect(other?.status).toBe(202);
    expect(received).toContain("HTTP/1.1 202 ");
    // It is over, and so counted no more.
    expect((await ask("/operations/film", raw())).status).toBe(202);
  });
});

describe("a form", () => {
  it("brings a file and the input as a JSON field", async () => {
    const { ask, claim } = await open();
    const answer = await ask("/operations/watch", form({ input: '{"text":"a","count":2}' }, MP4));
    expect(answer.status).toBe(202);
    const job = await claim("watch");
    expect(job.input).toBe('{"text":"a","count":2}');
    expect(job.upload).toMatchObject({ name: "film.mp4", type: "video/mp4", bytes: FILM.length });
  });

  it("brings the input as plain fields, of the types that the schema has", async () => {
    const { ask, claim } = await open();
    expect((await ask("/operations/watch", form({ text: "12", count: "12" }, MP4))).status).toBe(202);
    expect(JSON.parse((await claim("watch")).input)).toEqual({ text: "12", count: 12 });
  });

  it("need not bring a file where none is required", async () => {
    const { ask, claim } = await open();
    expect((await ask("/operations/watch", form({ text: "a" }))).status).toBe(202);
    expect((await claim("watch")).upload).toBeNull();
  });

  it("B2: is the same form under another boundary", async () => {
    const { ask, stored } = await open();
    const post = () => ask("/operations/film", { ...form({}, MP4), headers: { "idempotency-key": "k" } });
    const [first, second] = [await post(), await post()];
    expect(second.json.id).toBe(first.json.id);
    expect(await stored()).toHaveLength(1);
  });

  it("has its file's name made harmless", async () => {
    const { ask, claim } = await open();
    await ask("/operations/film", form({}, { ...MP4, name: "../../etc/pass\u202ewd.mp4" }));
    expect((await claim("film")).upload?.name).toBe("passwd.mp4");
  });

  it.each([
    ["without the file that is required", "film", form({}), 422],
    ["with a file of another type", "film", form({}, { ...MP4, type: "text/html" }), 415],
    ["with a file that is too large", "film", form({}, { ...MP4, bytes: Buffer.alloc(1001) }), 413],
    ["with an input that is wrong", "watch", form({ input: '{"text":5}' }, MP4), 422],
    ["with an input that is no JSON", "watch", form({ input: "{" }, MP4), 400],
    ["with an input and further fields", "watch", form({ input: '{"text":"a"}', count: "1" }, MP4), 400],
    ["with an unknown field", "watch", form({ text: "a", owner: "bob" }, MP4), 422],
    ["with a field named __proto__", "watch", form({ text: "a", ["__proto__"]: "b" }, MP4), 400],
    ["with a field that is too large", "film", form({ a: "x".repeat(300_000) }, MP4), 413],
    ["with a field name that is too long", "film", form({ ["x".repeat(300)]: "" }, MP4), 400],
    [
      "with too many fields",
      "film",
      form(Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`f${n}`, ""])), MP4),
      400,
    ],
  ])("%s is refused and leaves nothing behind", async (_what, operation, asked, status) => {
    const { ask, stored, count } = await open();
    const answer = await ask(`/operations/${operation}`, asked);
    expect(answer.json).toMatchObject({ status });
    expect(await stored()).toEqual([]);
    expect(await count()).toBe(0);
  });

  it("with two files is refused and leaves nothing behind", async () => {
    const { ask, stored } = await open();
    const { body, method } = form({}, MP4);
    body.append("second", new Blob([FILM], { type: "video/mp4" }), "b.mp4");
    expect((await ask("/operations/film", { method, body })).status).toBe(400);
    expect(await stored()).toEqual([]);
  });

  it.each([
    [
      "that is cut short",
      "--b\r\nContent-Disposition: form-data; name=f; filename=a\r\nContent-Type: video/mp4\r\n\r\nab",
    ],
    ["whose field is cut short", "--b\r\nContent-Disposition: form-data; name=text\r\n\r\na"],
    ["that lacks its end", "--b\r\nContent-Disposition: form-data; name=text\r\n\r\na\r\n--b\r\n"],
    ["that is none", "hello"],
    ["that has no byte", ""],
    [
      "with a part that nothing is said of",
      "--b\r\nContent-Disposition: form-data; name=text\r\n\r\na\r\n--b\r\n\r\nb\r\n--b--\r\n",
    ],
    ["with a part that has a type and no name", "--b\r\nContent-Type: video/mp4\r\n\r\nab\r\n--b--\r\n"],
    [
      "with a part that is no form data",
      "--b\r\nContent-Disposition: attachment; filename=a\r\n\r\nab\r\n--b--\r\n",
    ],
    ["with a part whose headers do not end", "--b\r\nContent-Dis\r\n--b--\r\n"],
  ])("%s is refused and leaves nothing behind", async (_what, body) => {
    const { ask, stored, count } = await open();
    const answer = await ask("/operations/watch", {
      method: "POST",
      body,
      headers: { "content-type": "multipart/form-data; boundary=b" },
    });
    expect(answer.json).toMatchObject({ status: 400, type: `${PUBLIC_URL}/problems/invalid-request` });
    expect(await stored()).toEqual([]);
    expect(await count()).toBe(0);
  });

  it("without a boundary, or for an operation without files, is refused", async () => {
    const { ask } = await open();
    const headers = { "content-type": "multipart/form-data" };
    expect((await ask("/operations/film", { method: "POST", body: "--b--", headers })).status).toBe(400);
    const answer = await ask("/operations/echo", form({ text: "a" }));
    expect(answer.json).toMatchObject({
      status: 415,
      type: `${PUBLIC_URL}/problems/unsupported-media-type`,
    });
  });
});
