// The caller's door over the real ledger in memory, listening on a free port, for tests: everything but workers.

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import type { Blobs } from "../src/blob/blobs.ts";
import { openFileBlobs } from "../src/blob/file.ts";
import type { Claimed } from "../src/core/attempts.ts";
import type { StoredFile } from "../src/core/handler.ts";
import type { Job } from "../src/core/job.ts";
import type { Jobs } from "../src/core/jobs.ts";
import { defineOperation, type Operation } from "../src/core/operation.ts";
import { readyOperations } from "../src/core/operations.ts";
import type { ProblemDocument } from "../src/core/problem.ts";
import { createAccess } from "../src/http/access.ts";
import { createApiKey } from "../src/http/api-keys.ts";
import { createApp } from "../src/http/app.ts";
import type { Scope } from "../src/http/identity.ts";
import type { HttpLimits, ServerLimits } from "../src/http/limits.ts";
import { plugin } from "../src/http/plugin.ts";
import { readTiers, type TierOptions } from "../src/http/tiers.ts";
import { createLedger, type Ledger } from "../src/ledger/ledger.ts";
import { type Clock, createClock } from "../src/store/clock.ts";
import { openMemory } from "../src/store/memory.ts";

/** Where callers are told to reach the door; not where it listens. */
export const PUBLIC_URL = "https://jobs.example/api";

const input = {
  type: "object",
  properties: { text: { type: "string", maxLength: 1000 }, count: { type: "integer" } },
  required: ["text"],
} as const;

const OPERATIONS: readonly Operation[] = [
  defineOperation({ name: "echo", input, maxBodyBytes: 2000 }),
  defineOperation({ name: "keyed", input, idempotency: "required" }),
  defineOperation({ name: "same", input, dedupe: "content" }),
  defineOperation({ name: "empty", path: "/deep/empty" }),
  defineOperation({ name: "small", input, backlog: 2 }),
  defineOperation({ name: "brief", input, retention: "1s" }),
  defineOperation({ name: "watch", input, file: { types: ["video/*", "text/csv"], maxBytes: 100_000 } }),
  defineOperation({ name: "film", file: { types: ["video/mp4"], maxBytes: 1000, required: true } }),
] as readonly Operation[];

export interface DoorOptions {
  readonly http?: Partial<HttpLimits>;
  readonly server?: Partial<ServerLimits>;
  readonly tier?: TierOptions;
  /** Stands between the routes and the ledger. */
  readonly between?: (jobs: Jobs) => Jobs;
  /** Does something to the app before the routes are registered. */
  readonly around?: (app: FastifyInstance) => void;
  /** Without keys, everyone is one owner. */
  readonly open?: boolean;
}

export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | FormData;
  /** Default: ada, who may do everything that callers may. */
  readonly as?: "ada" | "bob" | "submitter" | "nobody";
  readonly signal?: AbortSignal;
}

export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: bodies are what the tests say they are.
  readonly json: any;
}

export interface OpenDoor {
  readonly port: number;
  readonly ledger: Ledger;
  readonly blobs: Blobs;
  readonly clock: Clock;
  readonly logs: readonly { readonly level: string; readonly message: string }[];
  readonly keys: Readonly<Record<"ada" | "bob" | "submitter" | "expired", string>>;
  ask(path: string, asked?: Asked): Promise<Answered>;
  /** Submits to `echo`; gives the job's id. */
  submit(asked?: Asked & { readonly operation?: string; readonly text?: string }): Promise<string>;
  /** Has a worker take the next job of an operation. */
  claim(operation?: string): Promise<Job>;
  complete(job: Job, json: string): Promise<void>;
  completeWith(job: Job, file: StoredFile): Promise<void>;
  fail(job: Job, problem: ProblemDocument): Promise<void>;
  /** Time passes, and what is due is done. */
  pass(ms: number): Promise<void>;
  /** Writes raw bytes to a new connection, and gives all that comes back until it is closed or `enough` of it is there. */
  raw(bytes: string | Uint8Array, options?: RawOptions): Promise<string>;
  /** Addresses that have files. */
  stored(): Promise<readonly string[]>;
  /** Jobs in the store, whoever's. */
  count(): Promise<number>;
  close(): Promise<void>;
}

export interface RawOptions {
  /** Ends the connection once this is true of what came back; default: when the server closes. */
  readonly enough?: (received: string) => boolean;
  /** Goes on with the connection once the bytes are written. */
  readonly after?: (socket: Socket) => Promise<void>;
}

// Compiling schemas is the dearest part of opening a door.
const READY = readyOperations(OPERATIONS);

/** Opens a door. To be closed. */
export async function openTestDoor(options: DoorOptions = {}): Promise<OpenDoor> {
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-door-"));
  const clock = createClock();
  const now = () => clock.moment().now;
  const store = openMemory({ clock });
  const blobs = await openFileBlobs(folder);
  const operations = READY;
  const ledger = await createLedger({ store, operations, blobs, now });
  const keys = {
    ada: createApiKey(),
    bob: createApiKey(),
    submitter: createApiKey(),
    expired: createApiKey(),
  };
  const logs: { level: string; message: string }[] = [];
  const log = {
    warn: (_fields: object, message: string) => void logs.push({ level: "warn", message }),
    error: (_fields: object, message: string) => void logs.push({ level: "error", message }),
  };
  const app = createApp({ publicUrl: () => PUBLIC_URL, log, limits: options.server ?? {} });
  options.around?.(app);
  const tiers = readTiers(options.tier === undefined ? {} : { default: options.tier }, "on");
  const scopesOf = (name: string): readonly Scope[] =>
    name === "submitter" ? ["submit"] : ["submit", "read", "cancel"];
  const access = createAccess({
    tiers,
    ...(options.open === true
      ? {}
      : {
          keys: Object.entries(keys).map(([name, { prefix, hash }]) => ({
            ...{ name, prefix, hash, tier: "default", createdAt: null },
            expiresAt: name === "expired" ? 1 : null,
            owner: name === "bob" ? "bob" : "ada",
            scopes: scopesOf(name),
          })),
        }),
  });
  await app.register(
    plugin({
      jobs: options.between?.(ledger.jobs) ?? ledger.jobs,
      operations,
      blobs,
      access,
      publicUrl: () => PUBLIC_URL,
      cursorKey: new Uint8Array(32).fill(7),
      log,
      limits: options.http ?? {},
      now,
    }),
  );
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = app.server.address() as AddressInfo;

  const ask: OpenDoor["ask"] = async (path, asked = {}) => {
    const { as = "ada" } = asked;
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: asked.method ?? "GET",
      redirect: "manual",
      headers: { ...(as === "nobody" ? {} : { authorization: `Bearer ${keys[as].key}` }), ...asked.headers },
      ...(asked.body === undefined ? {} : { body: asked.body as NonNullable<RequestInit["body"]> }),
      ...(asked.signal === undefined ? {} : { signal: asked.signal }),
    });
    const text = await answer.text();
    const isJson = answer.headers.get("content-type")?.includes("json") === true;
    return {
      status: answer.status,
      headers: answer.headers,
      text,
      json: isJson && text !== "" ? JSON.parse(text) : null,
    };
  };
  const settle = async (job: Job, outcome: Parameters<typeof ledger.attempts.settle>[1]) => {
    const settled = await ledger.attempts.settle({ row: job.row, attempt: job.attempt }, outcome);
    if ("refused" in settled) throw new Error("The attempt could not be settled.");
  };

  return {
    port,
    ledger,
    blobs,
    clock,
    logs,
    keys: {
      ada: keys.ada.key,
      bob: keys.bob.key,
      submitter: keys.submitter.key,
      expired: keys.expired.key,
    },
    ask,
    async submit({ operation = "echo", text = "hello", ...asked } = {}) {
      const answer = await ask(`/operations/${operation}`, {
        method: "POST",
        body: JSON.stringify({ text }),
        ...asked,
        headers: { "content-type": "application/json", ...asked.headers },
      });
      if (answer.status !== 202) throw new Error(`The submit was answered ${answer.status}: ${answer.text}`);
      return answer.json.id as string;
    },
    async claim(operation = "echo") {
      const claimed: Claimed = await ledger.attempts.claim({
        ...{ worker: "test", limit: 1, running: 0, held: true },
        slots: { [operation]: 1 },
      });
      const [job] = claimed.jobs;
      if (job === undefined) throw new Error(`There is nothing to do for ${operation}.`);
      return job;
    },
    complete: (job, json) => settle(job, { kind: "completed", result: { json }, files: [] }),
    completeWith: (job, file) =>
      settle(job, { kind: "completed", result: { file: file.name }, files: [file] }),
    fail: (job, problem) => settle(job, { kind: "failed", problem, final: true }),
    async pass(ms) {
      clock.pass(ms);
      await ledger.sweep();
    },
    raw: (bytes, { enough = () => false, after } = {}) =>
      new Promise((resolve, reject) => {
        let received = "";
        const socket = connect(port, "127.0.0.1", () => {
          socket.write(bytes);
          after?.(socket).catch(reject);
        });
        socket.setEncoding("latin1");
        socket.on("data", (chunk) => {
          received += chunk;
          if (enough(received)) socket.destroy();
        });
        // A reset after the answer is how a server may end what is still being sent to it.
        socket.on("error", (error) => (received === "" ? reject(error) : resolve(received)));
        socket.on("close", () => resolve(received));
      }),
    async stored() {
      const found: string[] = [];
      for await (const { address } of blobs.addresses()) found.push(address);
      const unfinished = await readdir(join(folder, "unfinished"));
      return [...found, ...unfinished];
    },
    async count() {
      return (await ledger.counts()).jobs;
    },
    async close() {
      await app.close();
      await ledger.close();
      await store.close();
      await blobs.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
