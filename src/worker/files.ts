// The files of one attempt: its scratch directory, what it saved, and the upload it reads.

import { createReadStream } from "node:fs";
import { mkdir, realpath, rm } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import { Readable } from "node:stream";
import type { Blobs } from "../blob/blobs.ts";
import { leftoverName } from "../blob/leftover.ts";
import type { HandlerAttempt, StoredFile, Upload } from "../core/handler.ts";

export type SaveFrom = Parameters<HandlerAttempt["save"]>[1];

export interface FilesOptions {
  readonly blobs: Blobs;
  /** The job's address in the blob store. */
  readonly address: string;
  readonly attempt: number;
  /** Where scratch directories are made. */
  readonly scratchFolder: string;
  /** Most bytes of one saved file. */
  readonly maxFileBytes: number;
}

// The job lists its files, and is read whole.
const MAX_FILES = 1000;

const MAX_NAME = 255;

const MEDIA_TYPE = /^[\w!#$&^.+-]{1,127}\/[\w!#$&^.+-]{1,127}(?:;[\x20-\x7e]{0,200})?$/;

export class Files {
  readonly #options: FilesOptions;
  /** Aborts what is still being saved when the attempt ends: nothing of it can be listed any more. */
  readonly #over = new AbortController();
  #scratch: Promise<string> | null = null;
  /** What was saved, by name. */
  readonly saved = new Map<string, StoredFile>();

  constructor(options: FilesOptions) {
    this.#options = options;
  }

  scratch(): Promise<string> {
    this.#over.signal.throwIfAborted();
    this.#scratch ??= makeFolder(join(this.#options.scratchFolder, leftoverName()));
    return this.#scratch;
  }

  async save(name: string, from: SaveFrom, type: string): Promise<StoredFile> {
    this.#over.signal.throwIfAborted();
    if (typeof name !== "string" || name === "") throw new TypeError("A saved file needs a name.");
    if (typeof type !== "string" || !MEDIA_TYPE.test(type)) {
      throw new TypeError("A saved file needs a media type such as video/mp4.");
    }
    const shown = name.slice(0, MAX_NAME).replace(/[/\\\p{Cc}\p{Cs}]/gu, "_");
    if (this.saved.size >= MAX_FILES && !this.saved.has(shown)) {
      throw new RangeError(`An attempt can save ${MAX_FILES} files; put more into an archive.`);
    }
    const written = await this.#write(shown, from);
    this.#over.signal.throwIfAborted();
    const file: StoredFile = { name: shown, type, ...written };
    this.saved.set(shown, file);
    return forHandler(file);
  }

  async #write(name: string, from: SaveFrom) {
    const { blobs, address, attempt: part, maxFileBytes: maxBytes } = this.#options;
    const place = { address, part, name };
    const limits = { maxBytes, signal: this.#over.signal };
    if ("bytes" in from)
      return blobs.write(place, Readable.from([from.bytes], { objectMode: false }), limits);
    if ("stream" in from) return blobs.write(place, readable(from.stream), limits);
    // What lies elsewhere is not the attempt's to move.
    if (await this.#isScratch(from.path)) return blobs.take(place, from.path);
    return blobs.write(place, createReadStream(from.path), limits);
  }

  async #isScratch(path: string): Promise<boolean> {
    if (this.#scratch === null) return false;
    const [folder, parent] = await Promise.all([
      realpath(await this.#scratch),
      realpath(dirname(resolve(path))),
    ]);
    return `${parent}${sep}`.startsWith(`${folder}${sep}`);
  }

  upload(file: StoredFile): Upload {
    const { blobs } = this.#options;
    const there = <T>(found: T | null): T => {
      if (found === null) throw new Error("The uploaded file is no longer there.");
      return found;
    };
    return {
      ...file,
      path: async () => there(await blobs.path(file.blob)),
      stream: async () => there(await blobs.open(file.blob)),
    };
  }

  /** Ends all of it and removes the scratch directory. Never rejects. */
  async remove(): Promise<void> {
    this.#over.abort(new Error("The attempt has ended."));
    const scratch = await this.#scratch?.catch(() => null);
    if (scratch) await rm(scratch, { recursive: true, force: true, maxRetries: 3 }).catch(() => {});
  }
}

/** A saved file as handlers hold it: in JSON it is told without its place in the blob store, which is nobody's business. */
export function forHandler(file: StoredFile): StoredFile {
  const { blob: _, ...told } = file;
  return Object.defineProperty({ ...file }, "toJSON", { value: () => told, enumerable: false });
}

async function makeFolder(path: string): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  return path;
}

function readable(stream: NodeJS.ReadableStream): Readable {
  return stream instanceof Readable ? stream : new Readable().wrap(stream);
}
