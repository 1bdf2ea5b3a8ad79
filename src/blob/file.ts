// Blobs as files of the local disk: `<folder>/<aa>/<address>/<upload or attempt>/<random>-<name>`.
//
// A blob is written below `<folder>/unfinished`, synced, and moved to its place by one rename, so it is there whole or not at all.
// The random part makes every blob a file of its own: no later write can change the bytes that a blob stands for.

import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { access, type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { StoreUnavailable } from "../store/store.ts";
import { type BlobPlace, type Blobs, BlobTooLarge, type Written } from "./blobs.ts";
import { leftoverName, removeLeftovers } from "./leftover.ts";

const ADDRESS = /^[0-9a-f]{32}$/;

// Every blob has this shape, so none leads out of the folder, whoever wrote it.
const BLOB = /^([0-9a-f]{32})\/(?:upload|[1-9]\d{0,9})\/[0-9a-f]{16}-[A-Za-z0-9._-]{0,80}$/;

// What people uploaded is nobody's business who shares the machine.
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

/** Opens (or makes) a folder of blobs, for nobody but this user. Removes what a killed process left unfinished. Throws where it can't be written. */
export async function openFileBlobs(folder: string): Promise<Blobs> {
  const root = resolve(folder);
  const unfinished = join(root, "unfinished");
  await mkdir(dirname(root), { recursive: true });
  await mkdir(unfinished, { recursive: true, mode: FOLDER_MODE });
  await syncFolder(root);
  await removeLeftovers(unfinished);
  return new FileBlobs(root, unfinished);
}

class FileBlobs implements Blobs {
  readonly #root: string;
  readonly #unfinished: string;
  readonly #underWay = new Set<Promise<unknown>>();
  #closed = false;

  constructor(root: string, unfinished: string) {
    this.#root = root;
    this.#unfinished = unfinished;
  }

  write(
    place: BlobPlace,
    from: Readable,
    options: { maxBytes: number; signal?: AbortSignal },
  ): Promise<Written> {
    const written = this.#track(() => this.#write(place, from, options));
    // Whoever feeds the stream must not be left waiting for a reader.
    written.catch(() => from.destroy());
    return written;
  }

  take(place: BlobPlace, path: string): Promise<Written> {
    return this.#track(() => this.#take(place, path));
  }

  async open(blob: string, range?: { readonly from: number; readonly to: number }): Promise<Readable | null> {
    const path = this.#find(blob);
    if (path === null) return null;
    const file = await openThere(path);
    if (file === null) return null;
    if (range !== undefined && range.to < range.from) {
      await file.close();
      return Readable.from([]);
    }
    // Opened here and now: what is removed later is still read to its end.
    return file.createReadStream(range === undefined ? {} : { start: range.from, end: range.to });
  }

  async path(blob: string): Promise<string | null> {
    const path = this.#find(blob);
    if (path === null) return null;
    return access(path).then(
      () => path,
      (error) => (isMissing(error) ? null : Promise.reject(error)),
    );
  }

  async remove(address: string): Promise<void> {
    if (!ADDRESS.test(address)) return;
    await rm(this.#folder(address), { recursive: true, force: true, maxRetries: 3 }).catch(refuse);
  }

  async *addresses(): AsyncIterable<{ readonly address: string; readonly changedAt: number }> {
    for (const first of await readdir(this.#root)) {
      if (!/^[0-9a-f]{2}$/.test(first)) continue;
      for (const address of await readdir(join(this.#root, first))) {
        if (!ADDRESS.test(address)) continue;
        const changedAt = await this.#changedAt(address);
        if (changedAt !== null) yield { address, changedAt };
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#underWay);
  }

  async #track(work: () => Promise<Written>): Promise<Written> {
    if (this.#closed) throw new StoreUnavailable("The blob store is closed.");
    const done = work().catch(refuse);
    this.#underWay.add(done);
    try {
      return await done;
    } finally {
      this.#underWay.delete(done);
    }
  }

  async #write(
    place: BlobPlace,
    from: Readable,
    { maxBytes, signal }: { maxBytes: number; signal?: AbortSignal },
  ): Promise<Written> {
    const { blob, path } = this.#place(place);
    const draft = join(this.#unfinished, leftoverName());
    try {
      signal?.throwIfAborted();
      const file = await open(draft, "wx", FILE_MODE);
      const digest = createHash("sha256");
      let bytes = 0;
      try {
        const sink = new Writable({
          write(chunk: Buffer, _encoding, done) {
            bytes += chunk.length;
            if (bytes > maxBytes) return done(new BlobTooLarge(maxBytes));
            digest.update(chunk);
            writeAll(file, chunk).then(() => done(), done);
          },
        });
        await pipeline(from, sink, signal === undefined ? {} : { signal });
        await file.sync();
      } finally {
        await file.close();
      }
      await this.#settle(draft, path);
      return { blob, bytes, sha256: digest.digest("hex") };
    } catch (error) {
      await rm(draft, { force: true }).catch(() => {});
      throw error;
    }
  }

  async #take(place: BlobPlace, path: string): Promise<Written> {
    const { blob, path: target } = this.#place(place);
    // A link is not followed: it may lead to what is not the giver's, and would be moved instead of its file.
    const file = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0)).catch((error) => {
      throw error.code === "ELOOP"
        ? new TypeError("What is taken must be a file, not a link to one.")
        : error;
    });
    let bytes = 0;
    const digest = createHash("sha256");
    try {
      if (!(await file.stat()).isFile()) throw new TypeError("What is taken must be a file.");
      for await (const chunk of file.createReadStream({ autoClose: false, start: 0 })) {
        bytes += chunk.length;
        digest.update(chunk);
      }
      // What a program of another user made can't be changed; the folder it gets into lets nobody in.
      await file.chmod(FILE_MODE).catch(() => {});
      await file.sync();
    } finally {
      await file.close();
    }
    try {
      await this.#settle(path, target);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
      // Another file system: only copying gets it here.
      const source = (await open(path, "r")).createReadStream();
      const written = await this.#write(place, source, { maxBytes: bytes });
      await rm(path, { force: true });
      return written;
    }
    return { blob, bytes, sha256: digest.digest("hex") };
  }

  // Moves what is whole and synced to its place, and makes the move itself durable.
  async #settle(draft: string, path: string): Promise<void> {
    const folder = dirname(path);
    const first = await mkdir(folder, { recursive: true, mode: FOLDER_MODE });
    await rename(draft, path);
    await syncFolder(folder);
    // A new folder is durable once the one that lists it is.
    for (let made = folder; first !== undefined && made.length >= first.length; made = dirname(made)) {
      await syncFolder(dirname(made));
    }
  }

  #place({ address, part, name }: BlobPlace): { readonly blob: string; readonly path: string } {
    const blob = `${address}/${part}/${randomBytes(8).toString("hex")}-${plain(name)}`;
    const path = this.#find(blob);
    if (path === null) throw new TypeError(`A blob can't lie at ${JSON.stringify(`${address}/${part}`)}.`);
    return { blob, path };
  }

  #find(blob: string): string | null {
    const address = BLOB.exec(blob)?.[1];
    return address === undefined ? null : join(this.#root, address.slice(0, 2), blob);
  }

  #folder(address: string): string {
    return join(this.#root, address.slice(0, 2), address);
  }

  async #changedAt(address: string): Promise<number | null> {
    const folder = this.#folder(address);
    try {
      const parts = (await readdir(folder)).map((part) => stat(join(folder, part)));
      return Math.max(...(await Promise.all([stat(folder), ...parts])).map((entry) => entry.mtimeMs));
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }
}

// What people call the file is kept with the job; here it only helps whoever looks into the folder, and programs
// that go by the ending.
function plain(name: string): string {
  const safe = name.normalize("NFKD").replace(/[^A-Za-z0-9._-]+/g, "_");
  return safe.length <= 80 ? safe : safe.slice(0, 60) + safe.slice(-20);
}

async function writeAll(file: FileHandle, chunk: Buffer): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    done += (await file.write(chunk, done, chunk.length - done)).bytesWritten;
  }
}

async function openThere(path: string): Promise<FileHandle | null> {
  return open(path, "r").catch((error) => (isMissing(error) ? null : Promise.reject(error)));
}

async function syncFolder(folder: string): Promise<void> {
  // Windows knows no such thing.
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}

const UNAVAILABLE = new Set(["ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE"]);

function refuse(error: NodeJS.ErrnoException): never {
  if (error.code === undefined || !UNAVAILABLE.has(error.code)) throw error;
  throw new StoreUnavailable(`The blob store can't be written: ${error.code}.`, { cause: error });
}
