// Runs a handler for real, without a server or a store: a stand-in attempt that records what the handler does with it.

import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Handler, HandlerAttempt, StoredFile, Upload } from "coatcheck";

export interface RehearsalOptions<State> {
  /** The file that the handler finds as `attempt.upload`; name and type default to the path's and to bytes. */
  readonly upload?: { readonly path: string; readonly name?: string; readonly type?: string };
  /** What an earlier attempt is said to have stored with `checkpoint`. */
  readonly resume?: State;
  readonly signal?: AbortSignal;
  /** The attempt's number; default 1. */
  readonly number?: number;
  readonly onProgress?: (report: Report) => void;
  /** Called once a checkpoint is stored; what it throws, the handler's `checkpoint` rejects with. */
  readonly onCheckpoint?: (state: State) => void;
}

export interface Report {
  readonly percent: number | null;
  readonly message: string | undefined;
}

/** What a handler did with its attempt. */
export interface Rehearsal<Output, State> {
  /** What the handler gave back, as it survives JSON; reading it throws what the handler threw. */
  readonly output: Output | StoredFile;
  /** What the handler threw; undefined where it did not. */
  readonly error: unknown;
  readonly progress: readonly Report[];
  readonly checkpoints: readonly State[];
  readonly logs: readonly { readonly level: string; readonly message: string }[];
  readonly saved: readonly StoredFile[];
  /** Where the saved file of that name lies; throws where there is none. */
  path(name: string): string;
  /** Removes the saved files. */
  remove(): Promise<void>;
}

/** Runs one attempt of a handler to its end; resolves also where the handler throws. */
export async function rehearse<Input, Output, State>(
  handler: Handler<Input, Output, State>,
  input: Input,
  options: RehearsalOptions<State> = {},
): Promise<Rehearsal<Output, State>> {
  const home = await mkdtemp(join(tmpdir(), "rehearsal-"));
  const scratch = join(home, "scratch");
  const kept = join(home, "saved");
  await mkdir(kept);
  const progress: Report[] = [];
  const checkpoints: State[] = [];
  const logs: { level: string; message: string }[] = [];
  const saved: StoredFile[] = [];
  const note = (level: string) => (message: string) => void logs.push({ level, message });

  const attempt: HandlerAttempt<State> = {
    id: "rehearsal",
    owner: "rehearsal",
    operation: "rehearsal",
    number: options.number ?? 1,
    signal: options.signal ?? new AbortController().signal,
    idempotencyKey: "rehearsal",
    resume: options.resume === undefined ? undefined : throughJson(options.resume),
    upload: options.upload === undefined ? undefined : await uploadOf(options.upload),
    log: { info: note("info"), warn: note("warn"), error: note("error") },
    progress(percent, message) {
      const report = { percent, message };
      progress.push(report);
      options.onProgress?.(report);
    },
    async checkpoint(state) {
      checkpoints.push(throughJson(state));
      options.onCheckpoint?.(throughJson(state));
    },
    async scratch() {
      await mkdir(scratch, { recursive: true });
      return scratch;
    },
    async save(name, from, type) {
      if (name !== basename(name)) throw new TypeError("A saved file's name is a name, not a path.");
      const path = join(kept, name);
      if ("path" in from) await rename(from.path, path);
      else if ("bytes" in from) await writeFile(path, from.bytes);
      else await pipeline(from.stream, createWriteStream(path));
      const file = await stored(path, name, type);
      saved.push(file);
      return file;
    },
  };

  let output: Output | StoredFile | undefined;
  let thrown: { readonly error: unknown } | undefined;
  try {
    output = throughJson(await handler(input, attempt));
  } catch (error) {
    thrown = { error };
  }
  // Where nothing was saved there is nothing to look at, and nothing for the caller to remove.
  await rm(saved.length > 0 ? scratch : home, { recursive: true, force: true });
  return {
    get output() {
      if (thrown !== undefined) throw thrown.error;
      return output as Output | StoredFile;
    },
    error: thrown?.error,
    progress,
    checkpoints,
    logs,
    saved,
    path(name) {
      if (saved.some((file) => file.name === name)) return join(kept, name);
      throw new Error(
        `No file "${name}" was saved; saved were: ${saved.map((file) => file.name).join(", ")}.`,
      );
    },
    remove: () => rm(home, { recursive: true, force: true }),
  };
}

async function uploadOf(from: { path: string; name?: string; type?: string }): Promise<Upload> {
  const file = await stored(
    from.path,
    from.name ?? basename(from.path),
    from.type ?? "application/octet-stream",
  );
  return { ...file, path: async () => from.path, stream: async () => createReadStream(from.path) };
}

async function stored(path: string, name: string, type: string): Promise<StoredFile> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  const sha256 = hash.digest("hex");
  return { name, type, bytes: (await stat(path)).size, sha256, blob: `rehearsal/${name}` };
}

// A real attempt hands JSON to a store, so what JSON drops must be missed here too.
function throughJson<T>(value: T): T {
  return value === undefined ? value : (JSON.parse(JSON.stringify(value)) as T);
}
