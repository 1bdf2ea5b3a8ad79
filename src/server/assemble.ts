// Puts the parts together: the only place, with `server.ts`, that names an implementation of a port. It is imported
// when a desk opens, so that a handler in a thread of its own does not load a server with its definition.

import { hkdfSync, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { FastifyPluginAsync } from "fastify";
import type { Logger } from "pino";
import type { Blobs } from "../blob/blobs.ts";
import { openFileBlobs } from "../blob/file.ts";
import type { Operations } from "../core/operations.ts";
import { createAccess, type ReadyAccess } from "../http/access.ts";
import { describe } from "../http/describe.ts";
import { type HttpOptions, plugin } from "../http/plugin.ts";
import { readTiers, type Tiers } from "../http/tiers.ts";
import { createLedger, type Ledger } from "../ledger/ledger.ts";
import { openMemory } from "../store/memory.ts";
import { openSqlite } from "../store/sqlite/sqlite.ts";
import type { Store } from "../store/store.ts";
import { createLog, logTransitions } from "../telemetry/log.ts";
import { VERSION } from "../version.ts";
import { asRegistered, type Registered } from "../worker/registered.ts";
import { createWorker, type Worker } from "../worker/worker.ts";
import type { DeskOptions } from "./desk-options.ts";

/** What is behind a desk that is open. */
export interface Parts {
  readonly operations: Operations;
  readonly store: Store;
  readonly ledger: Ledger;
  readonly access: ReadyAccess;
  readonly tiers: Tiers;
  readonly log: Logger;
  /** The routes below `publicUrl`, with the document that describes them. `health`: whether the app has `/health`. */
  routes(publicUrl: () => string, how: { readonly health: boolean }): FastifyPluginAsync;
  /** Starts working where handlers are registered. */
  work(): void;
  /** Claims no more and ends the attempts that run, within the grace. Again: waits for the same end. */
  stopWork(graceMs: number): Promise<void>;
  close(graceMs: number): Promise<void>;
}

/** Opens everything. Rejects with `StoreUnusable` where the store must not be used. */
export async function assemble(
  options: DeskOptions,
  known: Operations,
  handlers: ReadonlyMap<string, Registered>,
): Promise<Parts> {
  const log =
    options.log === false ? createLog({ level: "silent" }) : (options.log ?? createLog({ level: "warn" }));
  const tiers = options.readyTiers ?? readTiers(options.tiers, options.limits);
  const access = options.access ?? accessOf(options, tiers);
  const operations: Operations = new Map(
    [...known].map(([name, ready]) => {
      const registered = handlers.get(name);
      if (registered === undefined) return [name, ready];
      return [name, { ...ready, operation: asRegistered(ready.operation, registered) }];
    }),
  );
  const { store, folder } = await openStore(options, log);
  const temporary = options.files === undefined && folder === null;
  const files =
    options.files ?? join(temporary ? await mkdtemp(join(tmpdir(), "coatcheck-")) : (folder ?? "."), "files");
  let blobs: Blobs;
  try {
    blobs = await openFileBlobs(files);
  } catch (error) {
    await store.close();
    throw error;
  }
  const ledger = await createLedger({
    store,
    operations,
    blobs,
    onError: (error) => log.error({ err: error }, "something in the background failed; it is tried again"),
    ...(options.clock === undefined ? {} : { now: nowOf(options.clock) }),
  });
  ledger.listen((event) => logTransitions(log, event));
  const worker = handlers.size === 0 ? null : workerOf(ledger, operations, blobs, handlers, log, files);
  const stopWork = async (graceMs: number) => worker?.stop({ graceMs });
  const cursorKey = derive(await store.read({ get: "secret" }), "cursors");
  return {
    operations,
    store,
    ledger,
    access,
    tiers,
    log,
    routes: (publicUrl, { health }) => {
      const http: HttpOptions = { jobs: ledger.jobs, operations, blobs, access, cursorKey, log, publicUrl };
      return async (app) => {
        await app.register(plugin(http));
        await app.register(describe(http, { access: access.kind, version: VERSION, health }));
      };
    },
    work: () => worker?.start(),
    stopWork,
    async close(graceMs) {
      await stopWork(graceMs);
      await ledger.close();
      await store.close();
      await blobs.close();
      if (temporary) await rm(dirname(files), { recursive: true, force: true });
    },
  };
}

function accessOf(options: DeskOptions, tiers: Tiers): ReadyAccess {
  const { caller, keys, jwt } = options;
  return createAccess({
    tiers,
    ...(caller === undefined ? {} : { caller }),
    ...(keys === undefined ? {} : { keys }),
    ...(jwt === undefined ? {} : { jwt }),
  });
}

function workerOf(
  { attempts, jobs }: Ledger,
  operations: Operations,
  blobs: Blobs,
  handlers: ReadonlyMap<string, Registered>,
  log: Logger,
  files: string,
): Worker {
  const name = `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`;
  // Beside the files, so that what a handler made there is moved into place, not copied.
  const scratchFolder = resolve(files, "..", "scratch");
  return createWorker({
    attempts,
    operations,
    blobs,
    handlers,
    name,
    address: jobs.address,
    log,
    scratchFolder,
  });
}

function nowOf(clock: NonNullable<DeskOptions["clock"]>): () => number {
  return () => clock.moment().now;
}

// Every purpose has a key of its own: what one reveals says nothing of the others.
function derive(secret: string, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", Buffer.from(secret, "hex"), "", `coatcheck ${purpose}`, 32));
}

async function openStore(
  options: DeskOptions,
  log: Logger,
): Promise<{ store: Store; folder: string | null }> {
  const url = options.store ?? "sqlite:./data/coatcheck.db";
  const clock = options.clock === undefined ? {} : { clock: options.clock };
  if (url === "memory:" || url === "memory") return { store: openMemory(clock), folder: null };
  const file = /^sqlite:(?:\/\/)?(.+)$/.exec(url)?.[1];
  if (file === undefined) {
    throw new TypeError(
      `The store ${JSON.stringify(url)} is not known: use "sqlite:path/to/file.db" or "memory:".`,
    );
  }
  const onBroken = options.onBroken ?? ((error: Error) => end(error, log));
  return { store: await openSqlite({ file, onBroken, ...clock }), folder: dirname(file) };
}

// A process that can't know the truth any more must not answer for it.
function end(error: Error, log: Logger): never {
  log.fatal({ err: error }, "the store can't go on, so this process ends");
  process.exit(70);
}
