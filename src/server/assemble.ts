// Puts the parts together: with `open-store.ts` the only place that names implementations of ports. It is imported when a
// desk opens, so that a handler in a thread of its own does not load a server with its definition.

import { hkdfSync, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { FastifyPluginAsync } from "fastify";
import type { Logger } from "pino";
import type { Blobs } from "../blob/blobs.ts";
import { openFileBlobs } from "../blob/file.ts";
import type { Operations } from "../core/operations.ts";
import { type CallerOf, createAccess, type ReadyAccess } from "../http/access.ts";
import { describe } from "../http/describe.ts";
import { type HttpOptions, plugin } from "../http/plugin.ts";
import { readTiers, type Tiers } from "../http/tiers.ts";
import { createLedger, type Ledger } from "../ledger/ledger.ts";
import type { Store } from "../store/store.ts";
import { createLog, logTransitions } from "../telemetry/log.ts";
import { VERSION } from "../version.ts";
import { asRegistered, type Registered } from "../worker/registered.ts";
import { createWorker, type Worker, type WorkerOptions } from "../worker/worker.ts";
import type { DeskOptions } from "./desk-options.ts";
import { keepToStore, MEMORY } from "./files-folder.ts";
import { type OpenedStore, openStore } from "./open-store.ts";

/** What is behind a desk that is open. */
export interface Parts {
  readonly operations: Operations;
  readonly store: Store;
  /** Whether servers on other machines may be using the store too. */
  readonly shared: boolean;
  readonly ledger: Ledger;
  readonly access: ReadyAccess;
  readonly tiers: Tiers;
  readonly log: Logger;
  /**
   * The routes below `publicUrl`, with the document that describes them. `health`: whether the app has `/health`; `caller`: who
   * asks here, instead of the desk's own access.
   */
  routes(
    publicUrl: () => string,
    how: { readonly health: boolean; readonly caller?: CallerOf | undefined },
  ): FastifyPluginAsync;
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
  const onBroken = options.onBroken ?? ((error: Error) => end(error, log));
  const opened = await openStore(options.store ?? "sqlite:./data/coatcheck.db", {
    onBroken,
    ...(options.clock === undefined ? {} : { clock: options.clock }),
  });
  const { store, shared } = opened;
  const { blobs, files, temporary } = await openFiles(options.files, opened, log).catch(async (error) => {
    await store.close();
    throw error;
  });
  const ledger = await createLedger({
    store,
    operations,
    blobs,
    onError: (error) => log.error({ err: error }, "something in the background failed; it is tried again"),
    ...(options.clock === undefined ? {} : { now: nowOf(options.clock) }),
  });
  ledger.listen((event) => logTransitions(log, event));
  const worker =
    handlers.size === 0
      ? null
      : workerOf(ledger, options.concurrency, { operations, blobs, handlers, log }, files);
  const stopWork = async (graceMs: number) => worker?.stop({ graceMs });
  const cursorKey = derive(await store.read({ get: "secret" }), "cursors");
  return {
    operations,
    store,
    shared,
    ledger,
    access,
    tiers,
    log,
    routes: (publicUrl, { health, caller }) => {
      const judge = caller === undefined ? access : createAccess({ tiers, caller });
      const http: HttpOptions = {
        jobs: ledger.jobs,
        operations,
        blobs,
        access: judge,
        cursorKey,
        log,
        publicUrl,
      };
      return async (app) => {
        await app.register(plugin(http));
        await app.register(describe(http, { access: judge.kind, version: VERSION, health }));
      };
    },
    work: () => worker?.start(),
    stopWork,
    async close(graceMs) {
      await stopWork(graceMs);
      await ledger.close();
      await store.close();
      await blobs.close();
      if (temporary !== null) await rm(temporary, { recursive: true, force: true });
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

/** The folder of files: the one that was named, the one that goes with the store, or one that goes with the process. */
async function openFiles(
  named: string | undefined,
  { store, files: own, shared }: OpenedStore,
  log: Logger,
): Promise<{ blobs: Blobs; files: string; temporary: string | null }> {
  const temporary = named === undefined && own === null ? await mkdtemp(join(tmpdir(), "coatcheck-")) : null;
  const files = named ?? join(temporary ?? "", own ?? "files");
  if (shared && named === undefined) {
    log.warn(
      { files: resolve(files) },
      "files are kept in a folder of this machine: where there is more than one, all servers and workers need the same " +
        "one, such as a network mount, named by `files` (COATCHECK_FILES)",
    );
  }
  const blobs = await openFileBlobs(files);
  try {
    const secret = await store.read({ get: "secret" });
    await keepToStore(
      resolve(files),
      own === null ? MEMORY : Buffer.from(derive(secret, "files")).toString("hex"),
    );
  } catch (error) {
    await blobs.close();
    throw error;
  }
  return { blobs, files, temporary };
}

function workerOf(
  { attempts, jobs }: Ledger,
  concurrency: number | undefined,
  parts: Pick<WorkerOptions, "operations" | "blobs" | "handlers" | "log">,
  files: string,
): Worker {
  return createWorker({
    ...parts,
    attempts,
    name: `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`,
    address: jobs.address,
    // Beside the files, so that what a handler made there is moved into place, not copied.
    scratchFolder: resolve(files, "..", "scratch"),
    ...(concurrency === undefined ? {} : { concurrency }),
  });
}

function nowOf(clock: NonNullable<DeskOptions["clock"]>): () => number {
  return () => clock.moment().now;
}

// Every purpose has a key of its own: what one reveals says nothing of the others.
function derive(secret: string, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", Buffer.from(secret, "hex"), "", `coatcheck ${purpose}`, 32));
}

// A process that can't know the truth any more must not answer for it.
function end(error: Error, log: Logger): never {
  log.fatal({ err: error }, "the store can't go on, so this process ends");
  process.exit(70);
}
