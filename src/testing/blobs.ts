// The suite of the port `Blobs`: what every blob store promises, for vitest.

import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type BlobPlace, type Blobs, BlobTooLarge } from "../blob/blobs.ts";

/** A blob store to test, and what to do when the test is over. */
export interface BlobsUnderTest {
  readonly blobs: Blobs;
  close(): Promise<void>;
}

/** Declares the suite: `blobsSuite("file", async () => ({ blobs, close }))`. Each test gets a store of its own. */
export function blobsSuite(name: string, open: () => Promise<BlobsUnderTest>): void {
  describe(`blobs: ${name}`, () => {
    let test: BlobsUnderTest;
    let blobs: Blobs;
    let folder: string;
    beforeEach(async () => {
      test = await open();
      blobs = test.blobs;
      folder = await mkdtemp(join(tmpdir(), "coatcheck-blobs-"));
    });
    afterEach(async () => {
      await test.close();
      await rm(folder, { recursive: true, force: true });
    });

    const read = async (blob: string, range?: { from: number; to: number }) => {
      const stream = await blobs.open(blob, range);
      return stream === null ? null : await buffer(stream);
    };

    it("gives back the bytes that were written, with their number and SHA-256", async () => {
      const bytes = randomBytes(300_000);
      const written = await blobs.write(placeOf(), inChunks(bytes, 10_007), { maxBytes: bytes.length });
      expect(written).toMatchObject({ bytes: bytes.length, sha256: sha256(bytes) });
      expect(bytes.equals((await read(written.blob))!)).toBe(true);
      expect(bytes.equals(await readFile((await blobs.path(written.blob))!))).toBe(true);
    });

    it("keeps an empty file", async () => {
      const written = await blobs.write(placeOf(), Readable.from([]), { maxBytes: 10 });
      expect(written).toMatchObject({ bytes: 0, sha256: sha256(Buffer.alloc(0)) });
      expect(await read(written.blob)).toEqual(Buffer.alloc(0));
    });

    it("reads a range, both ends included", async () => {
      const { blob } = await blobs.write(placeOf(), Readable.from([Buffer.from("0123456789")]), {
        maxBytes: 10,
      });
      expect(String(await read(blob, { from: 2, to: 5 }))).toBe("2345");
      expect(String(await read(blob, { from: 0, to: 0 }))).toBe("0");
      expect(String(await read(blob, { from: 9, to: 9 }))).toBe("9");
    });

    it("refuses one byte too many and keeps nothing of it", async () => {
      const place = placeOf();
      const written = blobs.write(place, inChunks(Buffer.alloc(1001), 100), { maxBytes: 1000 });
      await expect(written).rejects.toBeInstanceOf(BlobTooLarge);
      await expect(written).rejects.toMatchObject({ maxBytes: 1000 });
      expect(await addressesOf(blobs)).toEqual([]);
    });

    it("keeps nothing of a write that is aborted", async () => {
      const stop = new AbortController();
      const from = new PassThrough();
      from.write("half");
      const written = blobs.write(placeOf(), from, { maxBytes: 1000, signal: stop.signal });
      const why = new Error("enough");
      setImmediate(() => stop.abort(why));
      await expect(written).rejects.toThrow();
      expect(from.destroyed).toBe(true);
      expect(await addressesOf(blobs)).toEqual([]);
    });

    it("keeps nothing of a write that was aborted before it began", async () => {
      const from = new PassThrough();
      const written = blobs.write(placeOf(), from, { maxBytes: 1000, signal: AbortSignal.abort() });
      await expect(written).rejects.toThrow();
      expect(from.destroyed).toBe(true);
      expect(await addressesOf(blobs)).toEqual([]);
    });

    it("keeps nothing of a stream that breaks off", async () => {
      const from = Readable.from(
        (async function* () {
          yield Buffer.from("half");
          throw new Error("the sender is gone");
        })(),
      );
      await expect(blobs.write(placeOf(), from, { maxBytes: 1000 })).rejects.toThrow("the sender is gone");
      expect(await addressesOf(blobs)).toEqual([]);
    });

    it("takes over a file of the local disk", async () => {
      const path = join(folder, "clip.mp4");
      const bytes = randomBytes(200_000);
      await writeFile(path, bytes);
      const taken = await blobs.take(placeOf({ part: 1 }), path);
      expect(taken).toMatchObject({ bytes: bytes.length, sha256: sha256(bytes) });
      expect(bytes.equals((await read(taken.blob))!)).toBe(true);
      await expect(readFile(path)).rejects.toThrow("ENOENT");
    });

    it("takes neither a link nor a folder, and leaves both where they are", async () => {
      const secret = join(folder, "secret");
      await writeFile(secret, "not yours");
      await symlink(secret, join(folder, "link"));
      await expect(blobs.take(placeOf(), join(folder, "link"))).rejects.toThrow();
      await expect(blobs.take(placeOf(), folder)).rejects.toThrow();
      expect(await readFile(secret, "utf8")).toBe("not yours");
      expect(await addressesOf(blobs)).toEqual([]);
    });

    it("is at ease with every name", async () => {
      const names = [
        "..",
        ".",
        "",
        "a/b",
        "../../etc/passwd",
        "\0",
        "a\\b",
        "CON",
        "line\nbreak",
        "x".repeat(300),
        "Ünïcödé 🎬.mp4",
        "\ud800",
        " ",
        "%2e%2e%2f",
      ];
      const address = addressOf();
      const kept = await Promise.all(
        names.map((name, at) =>
          blobs.write({ address, part: 1, name }, Readable.from([Buffer.from(`${at}`)]), { maxBytes: 10 }),
        ),
      );
      expect(new Set(kept.map(({ blob }) => blob)).size).toBe(names.length);
      for (const [at, { blob }] of kept.entries()) expect(String(await read(blob)), names[at]).toBe(`${at}`);
    });

    it("opens nothing that it did not write itself", async () => {
      const { blob } = await blobs.write(placeOf(), Readable.from([Buffer.from("here")]), { maxBytes: 10 });
      const forged = [
        "",
        "/etc/passwd",
        "../../../../etc/passwd",
        `${blob}/../..`,
        `${blob}\0`,
        blob.slice(0, -1),
        ".",
      ];
      for (const other of forged) {
        expect(await blobs.open(other), other).toBeNull();
        expect(await blobs.path(other), other).toBeNull();
      }
    });

    it("C2: keeps the blobs of each attempt apart", async () => {
      const address = addressOf();
      const first = await blobs.write({ address, part: 1, name: "same" }, Readable.from([Buffer.from("1")]), {
        maxBytes: 9,
      });
      const second = await blobs.write(
        { address, part: 2, name: "same" },
        Readable.from([Buffer.from("2")]),
        {
          maxBytes: 9,
        },
      );
      expect(String(await read(first.blob))).toBe("1");
      expect(String(await read(second.blob))).toBe("2");
    });

    it("C3: never changes the bytes of a blob, even where the same place is written again", async () => {
      const place = placeOf();
      const before = await blobs.write(place, Readable.from([Buffer.from("before")]), { maxBytes: 9 });
      await blobs.write(place, Readable.from([Buffer.from("after")]), { maxBytes: 9 });
      expect(String(await read(before.blob))).toBe("before");
    });

    it("removes all of a job and nothing else, while a download that has begun goes on", async () => {
      const [mine, other] = [addressOf(), addressOf()];
      const bytes = randomBytes(400_000);
      const upload = await blobs.write({ address: mine, part: "upload", name: "a" }, inChunks(bytes, 5000), {
        maxBytes: bytes.length,
      });
      const result = await blobs.write(
        { address: mine, part: 1, name: "b" },
        Readable.from([Buffer.from("b")]),
        {
          maxBytes: 9,
        },
      );
      const kept = await blobs.write(
        { address: other, part: 1, name: "c" },
        Readable.from([Buffer.from("c")]),
        {
          maxBytes: 9,
        },
      );
      const download = (await blobs.open(upload.blob))!;
      await blobs.remove(mine);
      expect(bytes.equals(await buffer(download))).toBe(true);
      expect(await blobs.open(upload.blob)).toBeNull();
      expect(await blobs.open(result.blob)).toBeNull();
      expect(await blobs.path(result.blob)).toBeNull();
      expect(String(await read(kept.blob))).toBe("c");
      await blobs.remove(mine);
      await blobs.remove("..");
      expect(await addressesOf(blobs)).toEqual([other]);
    });

    it("lists the addresses that have anything, and when they last changed", async () => {
      const [one, two] = [addressOf(), addressOf()];
      const startedAt = Date.now() - 2000;
      for (const address of [one, two]) {
        await blobs.write({ address, part: "upload", name: "x" }, Readable.from(["x"]), { maxBytes: 9 });
      }
      const found = new Map<string, number>();
      for await (const { address, changedAt } of blobs.addresses()) found.set(address, changedAt);
      expect([...found.keys()].sort()).toEqual([one, two].sort());
      for (const changedAt of found.values()) {
        expect(changedAt).toBeGreaterThan(startedAt);
        expect(changedAt).toBeLessThan(Date.now() + 2000);
      }
    });

    it("refuses a place that is none", async () => {
      for (const address of ["", "..", "A".repeat(32), "0".repeat(31)]) {
        const written = blobs.write(placeOf({ address }), Readable.from(["x"]), { maxBytes: 9 });
        await expect(written, address).rejects.toThrow(TypeError);
      }
      expect(await addressesOf(blobs)).toEqual([]);
    });

    it("finishes what is under way before it closes, and takes nothing new", async () => {
      const from = new PassThrough();
      const written = blobs.write(placeOf(), from, { maxBytes: 100 });
      from.write("begun ");
      const closed = blobs.close();
      await expect(blobs.write(placeOf(), Readable.from(["x"]), { maxBytes: 9 })).rejects.toMatchObject({
        name: "StoreUnavailable",
      });
      from.end("and done");
      expect(await written).toMatchObject({ bytes: 14 });
      await closed;
    });
  });
}

function addressOf(): string {
  return randomBytes(16).toString("hex");
}

function placeOf(some: Partial<BlobPlace> = {}): BlobPlace {
  return { address: addressOf(), part: "upload", name: "holiday.mp4", ...some };
}

function inChunks(bytes: Buffer, size: number): Readable {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
  return Readable.from(chunks);
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function addressesOf(blobs: Blobs): Promise<string[]> {
  const found: string[] = [];
  for await (const { address } of blobs.addresses()) found.push(address);
  return found;
}
