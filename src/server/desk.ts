// `coatcheck({...})`: operations behind a complete 202 API, to be mounted into an app.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { FastifyPluginAsync } from "fastify";
import { parseDuration } from "../core/duration.ts";
import type { Event } from "../core/event.ts";
import type { Handler } from "../core/handler.ts";
import type { Accepted, Caller, Refused, View } from "../core/jobs.ts";
import type { InputOf, Operation, OutputOf } from "../core/operation.ts";
import { readyOperations } from "../core/operations.ts";
import type { Schema, Sent } from "../core/schema.ts";
import type { Counts } from "../store/store.ts";
import type { Registered } from "../worker/registered.ts";
import type { Parts } from "./assemble.ts";
import type { DeskOptions } from "./desk-options.ts";
import {
  createMounts,
  type FastifyMountOptions,
  type FetchMountOptions,
  type MountOptions,
} from "./mounts.ts";
import { readStoreUrl } from "./store-url.ts";
import { type SubmitOptions, submitTo } from "./submit.ts";

export interface HandlerOptions {
  /** Most attempts of this operation at once. Default: 10 in process, one a core where isolated. */
  readonly concurrency?: number;
}

/** A handler in a file of its own: the module's default export. */
export interface IsolatedHandler extends HandlerOptions {
  readonly module: URL | string;
  /** A thread for CPU-heavy work; a process for work that may crash or eat memory. */
  readonly isolate: "thread" | "process";
  /** Most memory of its JavaScript heap, in MiB. Default 1024. */
  readonly memoryMb?: number;
}

/** Operations behind a complete 202 API, to be mounted into an app. */
export interface Desk {
  /** Does the operation's work in this process. */
  handle<Input extends Schema, Output extends Schema, State = unknown>(
    operation: Operation<Input, Output>,
    handler:
      | Handler<InputOf<Operation<Input, Output>>, OutputOf<Operation<Input, Output>>, State>
      | IsolatedHandler,
    options?: HandlerOptions,
  ): Desk;
  /** Submits from within the app, without HTTP: the same checks, the same promises. */
  submit<Input extends Schema, Output extends Schema>(
    operation: Operation<Input, Output>,
    input: Sent<Input>,
    options: SubmitOptions,
  ): Promise<Accepted | Refused>;
  /** The job as it stands; null where the owner has none of this id. */
  get(owner: string, id: string): Promise<View | null>;
  /** The job once it settles, or as it stands after `waitMs`. */
  wait(owner: string, id: string, waitMs: number): Promise<View | null>;
  /** Cancels a queued job at once, asks a running one to stop; null where the owner has none of this id. */
  cancel(owner: string, id: string): Promise<View | Refused | null>;
  /** Every event, once it is durable. Resolves to a function that ends it. */
  listen(hear: (event: Event) => void): Promise<() => void>;
  counts(): Promise<Counts>;
  /** Holds an operation's queued jobs back; running ones go on. */
  pause(operation: Operation | string): Promise<void>;
  resume(operation: Operation | string): Promise<void>;
  /**
   * The routes, for `app.register(desk.fastify, { prefix })`. A desk that Fastify apps alone have opened ends with the last
   * of them; one that `ready`, `work`, another mount or a method opened first is ended by `close` only.
   */
  readonly fastify: FastifyPluginAsync<FastifyMountOptions>;
  /** The routes, for `app.use("/path", desk.middleware())` in Express and Connect, and as a listener of `node:http`. */
  middleware(
    options?: MountOptions,
  ): (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void) => void;
  /** The routes, for hosts that speak `fetch`: Hono, SvelteKit, … Needs `publicUrl`. */
  fetch(request: Request, options?: FetchMountOptions): Promise<Response>;
  /**
   * Starts working, where handlers are registered; nothing has to be mounted for it. The mounts do it by themselves, unless the
   * desk's `work` is false.
   */
  work(): Promise<void>;
  /** Opens the store; rejects with `StoreUnusable` where it must not be used. The mounts do it by themselves. */
  ready(): Promise<void>;
  /**
   * Ends gracefully: attempts get their time to stop and count no failure, leases are released. Until then an open desk keeps its
   * process running.
   */
  close(): Promise<void>;
}

/** Puts a desk together. Nothing is opened before it is mounted, or `ready`, `work` or a method needs it. */
export function coatcheck(options: DeskOptions): Desk {
  return createDesk(options).desk;
}

/** A desk, and what is behind it, for the server. */
export function createDesk(options: DeskOptions): {
  readonly desk: Desk;
  readonly parts: () => Promise<Parts>;
} {
  const handlers = new Map<string, Registered>();
  // The schemas are compiled now, so that a mistake in them shows where it was made.
  const known = readyOperations(options.operations);
  const graceMs = parseDuration(options.shutdownGrace ?? "25s", "shutdownGrace");
  if (options.store !== undefined) readStoreUrl(options.store);
  const { concurrency = 1 } = options;
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw new RangeError("concurrency must be a whole number of at least 1.");
  let opening: Promise<Parts> | null = null;
  let closing: Promise<void> | null = null;

  const parts = (): Promise<Parts> => {
    if (closing !== null) return Promise.reject(new Error("The desk is closed."));
    // What failed is tried again when next asked: the store may be usable by then.
    opening ??= import("./assemble.ts")
      .then(({ assemble }) => assemble(options, known, handlers))
      .catch((error) => {
        opening = null;
        throw error;
      });
    return opening;
  };
  // Whoever opened the desk by itself closes it, too; a mount only opens it for its app.
  let isKept = false;
  const keep = (): Promise<Parts> => {
    isKept ||= opening === null;
    return parts();
  };
  const asOwner = async <T>(
    owner: string,
    ask: (parts: Parts, caller: Caller) => Promise<T>,
    tier = "default",
  ): Promise<T> => {
    const open = await keep();
    const found = open.tiers.get(tier);
    if (found !== undefined) return ask(open, { owner, tier: found });
    throw new RangeError(`There is no tier "${tier}", only ${[...open.tiers.keys()].join(", ")}.`);
  };
  const mounts = createMounts({
    parts,
    publicUrl: options.publicUrl,
    work: options.work ?? true,
    keep: () => {
      isKept = true;
    },
    unmounted: async () => {
      if (!isKept) await desk.close();
    },
  });

  const desk: Desk = {
    handle(operation, handler, more = {}) {
      if (known.get(operation.name)?.operation !== (operation as unknown as Operation)) {
        throw new TypeError(`The desk has no operation "${operation.name}": list it in \`operations\`.`);
      }
      if (opening !== null)
        throw new Error(`Register the handler of ${operation.name} before the desk opens.`);
      handlers.set(
        operation.name,
        typeof handler === "function" ? { handler: handler as Handler, ...more } : handler,
      );
      return desk;
    },
    submit: (operation, input, how) =>
      asOwner(how.owner, (open, caller) => submitTo(open, caller, operation.name, input, how), how.tier),
    get: (owner, id) => asOwner(owner, ({ ledger }, caller) => ledger.jobs.get(caller, id)),
    wait: (owner, id, waitMs) =>
      asOwner(owner, ({ ledger }, caller) =>
        ledger.jobs.wait(caller, id, waitMs, new AbortController().signal),
      ),
    cancel: (owner, id) => asOwner(owner, ({ ledger }, caller) => ledger.jobs.cancel(caller, id)),
    listen: async (hear) => (await keep()).ledger.listen(hear),
    counts: async () => (await keep()).ledger.counts(),
    pause: async (operation) => (await keep()).ledger.pause(nameOf(operation), true),
    resume: async (operation) => (await keep()).ledger.pause(nameOf(operation), false),
    fastify: mounts.fastify,
    middleware: (how) => mounts.middleware(how),
    fetch: (request, how) => mounts.fetch(request, how),
    work: async () => {
      isKept = true;
      (await parts()).work();
    },
    ready: async () => {
      isKept = true;
      await parts();
    },
    close() {
      closing ??= (async () => {
        await mounts.close();
        // Where it could not be opened, whoever opened it has been told.
        const opened = await opening?.catch(() => null);
        await opened?.close(graceMs);
      })();
      return closing;
    },
  };
  return { desk, parts };
}

function nameOf(operation: Operation | string): string {
  return typeof operation === "string" ? operation : operation.name;
}
