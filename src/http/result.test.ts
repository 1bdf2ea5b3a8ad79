import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import { type DoorOptions, type OpenDoor, openTestDoor, PUBLIC_URL } from "../../test/open-door.ts";
import { problem } from "../core/problem.ts";

let door: OpenDoor;
afterEach(() => door?.close());

async function open(options?: DoorOptions): Promise<OpenDoor> {
  door = await openTestDoor(options);
  return door;
}

const BYTES = Buffer.from(Array.from({ length: 100_000 }, (_, n) => n % 251));
const SHA256 = createHash("sha256").update(BYTES).digest("hex");

/** A completed job whose result is a file. */
async function withFile(name = "film.mp4", type = "video/mp4", bytes = BYTES) {
  const opened = await open();
  const id = await opened.submit();
  const job = await opened.claim();
  const address = opened.ledger.jobs.address("ada", id);
  const written = await opened.blobs.write({ address, part: 1, name }, Readable.from([bytes]), {
    maxBytes: 1e6,
  });
  await opened.completeWith(job, { name, type, ...written });
  return { ...opened, id, address, url: `/jobs/${id}/result` };
}

async function bytesOf(url: string, headers: Record<string, string> = {}) {
  const answer = await fetch(`http://127.0.0.1:${door.port}${url}`, {
    headers: { authorization: `Bearer ${door.keys.ada}`, ...headers },
  });
  return {
    status: answer.status,
    headers: answer.headers,
    bytes: Buffer.from(await answer.arrayBuffer()),
  };
}

describe("a JSON result", () => {
  it("is given as the handler gave it, with a tag", async () => {
    const { ask, submit, claim, complete } = await open();
    const id = await submit();
    await complete(await claim(), '{"pages": 12, "big": 12345678901234567890}');
    const answer = await ask(`/jobs/${id}/result`);
    expect(answer.text).toBe('{"pages": 12, "big": 12345678901234567890}');
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "cache-control": "private, no-store",
      "content-type": "application/json",
      "x-content-type-options": "nosniff",
    });
    const etag = answer.headers.get("etag")!;
    expect((await ask(`/jobs/${id}/result`, { headers: { "if-none-match": etag } })).status).toBe(304);
  });

  it("that is not there yet is answered 404 with where and when to look", async () => {
    const { ask, submit } = await open();
    const id = await submit();
    const answer = await ask(`/jobs/${id}/result`);
    expect(answer.json).toMatchObject({ status: 404, type: `${PUBLIC_URL}/problems/result-not-ready` });
    expect(answer.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
    expect(answer.headers.get("link")).toBe(`<${PUBLIC_URL}/jobs/${id}>; rel="monitor"`);
    expect(answer.headers.get("cache-control")).toBe("private, no-store");
  });

  it("of a failed job is its problem, with the status that the handler gave it", async () => {
    const { ask, submit, claim, fail } = await open();
    const id = await submit();
    await fail(await claim(), { ...problem("attempt-failed", "No such film."), status: 422, film: 7 });
    const answer = await ask(`/jobs/${id}/result`);
    expect(answer.status).toBe(422);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(answer.json).toMatchObject({ status: 422, detail: "No such film.", film: 7 });
  });
});

describe("a file as the result", () => {
  it("is given whole, as an attachment that no browser runs", async () => {
    const { url } = await withFile("Größe.html", "text/html");
    const answer = await bytesOf(url);
    expect(answer.status).toBe(200);
    expect(answer.bytes.equals(BYTES)).toBe(true);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "accept-ranges": "bytes",
      "cache-control": "private, no-store",
      "content-disposition": "attachment; filename=\"Gr__e.html\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.html",
      "content-length": "100000",
      "content-security-policy": "sandbox; default-src 'none'",
      "content-type": "text/html",
      etag: `"${SHA256}"`,
      "x-content-type-options": "nosniff",
    });
  });

  it("is given in ranges, and whole again where it is another file by now", async () => {
    const { url } = await withFile();
    const part = await bytesOf(url, { range: "bytes=1000-1999", "if-range": `"${SHA256}"` });
    expect(part.status).toBe(206);
    expect(part.headers.get("content-range")).toBe("bytes 1000-1999/100000");
    expect(part.bytes.equals(BYTES.subarray(1000, 2000))).toBe(true);
    const end = await bytesOf(url, { range: "bytes=-5" });
    expect(end.bytes.equals(BYTES.subarray(-5))).toBe(true);
    expect((await bytesOf(url, { range: "bytes=0-5", "if-range": '"other"' })).status).toBe(200);
    const none = await bytesOf(url, { range: "bytes=100000-" });
    expect(none.status).toBe(416);
    expect(none.headers.get("content-range")).toBe("bytes */100000");
    expect(none.headers.get("content-type")).toBe("application/problem+json");
  });

  it("is named and found below the result too, and nothing else is", async () => {
    const { ask, id } = await withFile("a b.mp4");
    const { files } = (await ask(`/jobs/${id}?redirect=false`)).json;
    expect(files).toEqual([
      {
        name: "a b.mp4",
        type: "video/mp4",
        bytes: 100_000,
        sha256: SHA256,
        url: `${PUBLIC_URL}/jobs/${id}/result/a%20b.mp4`,
      },
    ]);
    expect((await bytesOf(`/jobs/${id}/result/a%20b.mp4`)).bytes.equals(BYTES)).toBe(true);
    for (const name of ["other.mp4", "..%2f..%2fetc%2fpasswd", "%00", "__proto__"]) {
      expect((await ask(`/jobs/${id}/result/${name}`)).text).toBe((await ask("/jobs/none")).text);
    }
  });

  it("answers HEAD and If-None-Match without its bytes", async () => {
    const { ask, url } = await withFile();
    const head = await ask(url, { method: "HEAD" });
    expect(head).toMatchObject({ status: 200, text: "" });
    expect(head.headers.get("content-length")).toBe("100000");
    const same = await ask(url, { headers: { "if-none-match": `"${SHA256}"` } });
    expect(same).toMatchObject({ status: 304, text: "" });
  });

  it("may be empty", async () => {
    const { url } = await withFile("empty.csv", "text/csv", Buffer.alloc(0));
    const answer = await bytesOf(url);
    expect(answer).toMatchObject({ status: 200, bytes: Buffer.alloc(0) });
    expect(answer.headers.get("content-length")).toBe("0");
  });

  it("that was removed between two looks is answered 410, never cut short", async () => {
    const { ask, blobs, address, url } = await withFile();
    await blobs.remove(address);
    const answer = await ask(url);
    expect(answer.json).toMatchObject({ status: 410, type: `${PUBLIC_URL}/problems/gone` });
    expect(answer.headers.get("etag")).toBeNull();
  });

  it("is the direct answer to a submit that waited for it", async () => {
    const { ask, submit, claim, completeWith, blobs, ledger } = await open();
    const id = await submit({ headers: { "idempotency-key": "k" } });
    const address = ledger.jobs.address("ada", id);
    const written = await blobs.write({ address, part: 1, name: "a" }, Readable.from([Buffer.from("abc")]), {
      maxBytes: 10,
    });
    await completeWith(await claim(), { name: "a.txt", type: "text/plain", ...written });
    const answer = await ask("/operations/echo", {
      method: "POST",
      body: '{"text":"hello"}',
      headers: { "content-type": "application/json", "idempotency-key": "k", prefer: "wait" },
    });
    expect(answer).toMatchObject({ status: 200, text: "abc" });
    expect(answer.headers.get("content-location")).toBe(`${PUBLIC_URL}/jobs/${id}/result`);
  });
});
