// Runs the suite of the port on the file blob store, and what only files can get wrong.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { blobsSuite } from "../testing/blobs.ts";
import { openFileBlobs } from "./file.ts";

// Makes the next rename or file write of the blob store fail with this code.
const fault = vi.hoisted(() => ({ rename: "", write: "" }));

vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  const failure = (code: string) => Object.assign(new Error(`${code}: as asked`), { code });
  return {
    ...real,
    async rename(...[from, to]: Parameters<typeof real.rename>) {
      const code = fault.rename;
      fault.rename = "";
      if (code !== "") throw failure(code);
      return await real.rename(from, to);
    },
    async open(...given: Parameters<typeof real.open>) {
      const file = await real.open(...given);
      if (fault.write !== "" && given[1] === "wx") file.write = () => Promise.reject(failure(fault.write));
      return file;
    },
  };
});

const ADDRESS = "0123456789abcdef0123456789abcdef";

blobsSuite("file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-test-"));
  const blobs = await openFileBlobs(join(folder, "not", "there", "yet"));
  return {
    blobs,
    async close() {
      await blobs.close();
      await rm(folder, { recursive: true });
    },
  };
});

describe("openFileBlobs", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "coatcheck-test-"));
  });
  afterEach(async () => {
    fault.rename = "";
    fault.write = "";
    await rm(folder, { recursive: true });
  });
  const unfinished = () => readdir(join(folder, "unfinished"));
  const modeOf = async (path: string) => (await stat(path)).mode & 0o777;
  const place = { address: ADDRESS, part: 1, name: "a.txt" };

  // Windows has no such modes.
  it.skipIf(process.platform === "win32")("lets no other user of the machine in", async () => {
    const root = join(folder, "data", "files");
    const blobs = await openFileBlobs(root);
    const given = join(folder, "given");
    await writeFile(given, "a", { mode: 0o644 });
    const written = await blobs.write(place, Readable.from(["a"]), { maxBytes: 9 });
    const taken = await blobs.take(place, given);
    for (const { blob } of [written, taken]) expect(await modeOf((await blobs.path(blob))!)).toBe(0o600);
    expect(await modeOf(root)).toBe(0o700);
    expect(await modeOf(join(root, ADDRESS.slice(0, 2), ADDRESS))).toBe(0o700);
    await blobs.close();
  });

  it.each(["ENOSPC", "EROFS", "EIO"])(
    "is unavailable at %s, leaves nothing, and recovers by itself",
    async (code) => {
      const blobs = await openFileBlobs(folder);
      fault.write = code;
      await expect(blobs.write(place, Readable.from(["a"]), { maxBytes: 9 })).rejects.toMatchObject({
        name: "StoreUnavailable",
      });
      expect(await unfinished()).toEqual([]);
      fault.write = "";
      fault.rename = code;
      await expect(blobs.write(place, Readable.from(["a"]), { maxBytes: 9 })).rejects.toMatchObject({
        name: "StoreUnavailable",
      });
      expect(await unfinished()).toEqual([]);
      expect(await blobs.write(place, Readable.from(["a"]), { maxBytes: 9 })).toMatchObject({ bytes: 1 });
      await blobs.close();
    },
  );

  it("copies where a file can't be moved because it lies on another file system", async () => {
    const blobs = await openFileBlobs(folder);
    const path = join(folder, "elsewhere");
    await writeFile(path, "far away");
    fault.rename = "EXDEV";
    const { blob, bytes } = await blobs.take(place, path);
    expect(bytes).toBe(8);
    expect(await (await blobs.open(blob))!.setEncoding("utf8").toArray()).toEqual(["far away"]);
    expect((await readdir(folder)).sort()).toEqual(["01", "unfinished"]);
    expect(await unfinished()).toEqual([]);
    await blobs.close();
  });

  it("removes what a killed process left unfinished, and nothing of a living one", async () => {
    const script = `
      import { openFileBlobs } from ${JSON.stringify(new URL("./file.ts", import.meta.url).href)};
      const blobs = await openFileBlobs(process.argv[1]);
      process.stdin.once("data", () => process.stdout.write("begun"));
      await blobs.write({ address: "${ADDRESS}", part: "upload", name: "x" }, process.stdin, { maxBytes: 1e6 });
    `;
    const child = spawn(
      process.execPath,
      [...process.execArgv, "--input-type=module", "--eval", script, folder],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    child.stdin.write("the first half");
    await once(child.stdout, "data");
    await vi.waitFor(async () => expect(await unfinished()).toHaveLength(1), { timeout: 10_000 });
    await (await openFileBlobs(folder)).close();
    expect(await unfinished()).toHaveLength(1);
    child.kill("SIGKILL");
    await once(child, "exit");
    const blobs = await openFileBlobs(folder);
    expect(await unfinished()).toEqual([]);
    expect(await blobs.addresses()[Symbol.asyncIterator]().next()).toMatchObject({ done: true });
    await blobs.close();
  });
});
