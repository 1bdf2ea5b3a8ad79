// The ways into an app: the routes are one Fastify plugin, and every other host reaches the same routes through it.

import { AsyncLocalStorage } from "node:async_hooks";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from "fastify";
import { problem, publishProblem } from "../core/problem.ts";
import type { AppCaller, CallerOf } from "../http/access.ts";
import { HTTP_LIMITS } from "../http/limits.ts";
import { PRIVATE, PROBLEM_TYPE } from "../protocol/answer.ts";
import { formatRetryAfter } from "../protocol/retry-after.ts";
import type { Parts } from "./assemble.ts";

type Next = (error?: unknown) => void;
type Middleware = (request: IncomingMessage, response: ServerResponse, next?: Next) => void;

/** Who asks, where this mount's host knows it better than the desk's own `caller`, `keys` and `jwt`. */
export interface MountOptions {
  /** Null is answered 401. */
  readonly caller?: CallerOf;
}

export interface FastifyMountOptions {
  /** Who asks, as the app's own hooks found out (`onRequest`, of the app); null is answered 401. Default: the desk's access. */
  readonly caller?: (request: FastifyRequest) => AppCaller | null | Promise<AppCaller | null>;
}

export interface FetchMountOptions {
  /** Who asks, as the app found out; null is answered 401. Default: the desk's access. */
  readonly caller?: AppCaller | null;
}

export interface Mounts {
  readonly fastify: FastifyPluginAsync<FastifyMountOptions>;
  middleware(options?: MountOptions): Middleware;
  fetch(request: Request, options?: FetchMountOptions): Promise<Response>;
  close(): Promise<void>;
}

export interface MountParts {
  readonly parts: () => Promise<Parts>;
  readonly publicUrl: string | undefined;
  /** Whether what is mounted starts the desk's work. */
  readonly work: boolean;
  /** Told when a mount opens the desk that has no end of its own. */
  readonly keep: () => void;
  /** Told when the last Fastify app has closed. */
  readonly unmounted: () => Promise<void>;
}

/** Hosts of the routes. What is mounted opens the desk and starts its work. */
export function createMounts({ parts, publicUrl, work, keep, unmounted }: MountParts): Mounts {
  let base = publicUrl?.replace(/\/+$/, "");
  const url = () => {
    if (base === undefined)
      throw new Error("No connection has told yet under which address the routes are reached.");
    return base;
  };
  const warned = new Set<string>();
  const open = async (caller: CallerOf | undefined): Promise<Parts> => {
    const opened = await parts();
    for (const sentence of warningsOf(opened, caller, publicUrl)) {
      if (!warned.has(sentence)) opened.log.warn(sentence);
      warned.add(sentence);
    }
    return opened;
  };
  let closed = false;
  let apps = 0;
  /** One app for all mounts that are told the same way who asks. */
  const built = new Map<CallerOf | undefined, Promise<FastifyInstance>>();
  const build = (caller: CallerOf | undefined) => {
    let building = built.get(caller);
    if (building === undefined) {
      keep();
      // What failed is tried again: the store may be usable by the next request.
      building = buildApp(open(caller), url, { caller, work }).catch((error) => {
        built.delete(caller);
        throw error;
      });
      built.set(caller, building);
    }
    return building;
  };

  return {
    async fastify(app, { caller }) {
      const known = new WeakMap<IncomingMessage, FastifyRequest>();
      const callerOf: CallerOf | undefined =
        caller && ((request) => caller(known.get(request) as FastifyRequest));
      const opened = await open(callerOf);
      apps++;
      app.addHook("onRequest", (request, _reply, done) => {
        base ??= `${addressOf(request.raw)}${app.prefix}`;
        if (caller !== undefined) known.set(request.raw, request);
        done();
      });
      if (work) app.addHook("onReady", async () => opened.work());
      app.addHook("onClose", async () => {
        if (--apps === 0) await unmounted();
      });
      await app.register(opened.routes(url, { health: false, caller: callerOf }));
    },

    middleware({ caller } = {}) {
      return (request, response, next) => {
        base ??= `${addressOf(request)}${prefixOf(request)}`;
        build(caller).then(
          (app) => {
            if (next !== undefined) PASS_ON.set(request, next);
            app.routing(request, response);
          },
          (error) => {
            if (next !== undefined) next(error);
            else response.writeHead(503, { "retry-after": "5" }).end();
          },
        );
      };
    },

    async fetch(request, { caller } = {}) {
      if (base === undefined) {
        throw new TypeError(
          "A host that speaks fetch does not tell its address: give `publicUrl` to coatcheck().",
        );
      }
      if (closed) return refuseClosed(base);
      const prefix = new URL(base).pathname;
      if (caller === undefined) return inject(await build(undefined), request, prefix);
      const app = await build(toldCaller);
      return await TOLD.run(caller, () => inject(app, request, prefix));
    },

    async close() {
      closed = true;
      const closing = [...built.values()].map((building) =>
        building.then(
          (app) => app.close(),
          // What could not be built has told so already, and has nothing to close.
          () => {},
        ),
      );
      await Promise.all(closing);
    },
  };
}

/** What the host does with paths that are not ours, by request. */
const PASS_ON = new WeakMap<IncomingMessage, Next>();

/** Who asks by the request that is under way, where a host that speaks fetch has said so. */
const TOLD = new AsyncLocalStorage<AppCaller | null>();
const toldCaller: CallerOf = () => TOLD.getStore() ?? null;

/** What an operator has to know of a mount, a sentence each. */
function* warningsOf(
  { access, shared }: Parts,
  caller: CallerOf | undefined,
  publicUrl: string | undefined,
): Generator<string> {
  if (shared && publicUrl === undefined)
    yield "there is no `publicUrl`: the URLs of jobs name this server, though others may share its store";
  if (access.kind === "open" && caller === undefined)
    yield "the desk is mounted without `caller`, `keys` or `jwt`: everyone who reaches its routes is one owner and may do everything";
}

async function buildApp(
  opening: Promise<Parts>,
  url: () => string,
  { caller, work }: { readonly caller: CallerOf | undefined; readonly work: boolean },
): Promise<FastifyInstance> {
  const [opened, { createApp }] = await Promise.all([opening, import("../http/app.ts")]);
  const app = createApp({
    publicUrl: url,
    log: opened.log,
    unknown: (request, reply) => {
      const next = PASS_ON.get(request.raw);
      if (next === undefined) return false;
      reply.hijack();
      next();
      return true;
    },
  });
  await app.register(opened.routes(url, { health: false, caller }));
  await app.ready();
  if (work) opened.work();
  return app;
}

/** The base URL of the connection that a request came in on: the server's own end of it, whatever the request says. */
function addressOf({ socket }: IncomingMessage): string {
  const scheme = "encrypted" in socket ? "https" : "http";
  const { localAddress = "127.0.0.1", localPort = 80 } = socket;
  const host = localAddress.startsWith("::ffff:") ? localAddress.slice(7) : localAddress;
  return `${scheme}://${host.includes(":") ? `[${host}]` : host}:${localPort}`;
}

/**
 * The path below which the routes are mounted. The host has cut it off the URL: Express keeps it in `baseUrl`, Connect and
 * its like keep the whole of the URL in `originalUrl`.
 */
function prefixOf(request: IncomingMessage): string {
  const { baseUrl, originalUrl, url = "/" } = request as Mounted;
  if (baseUrl !== undefined) return baseUrl;
  // A URL that is nothing but the mount's path is left as "/", and as "/?query" where there is one.
  const whole = originalUrl ?? url;
  if (whole.endsWith(url)) return whole.slice(0, whole.length - url.length);
  return whole.replace(/[?#].*$/, "");
}

interface Mounted extends IncomingMessage {
  readonly baseUrl?: string;
  readonly originalUrl?: string;
}

/** Answers a request of the web by Fastify, and streams both bodies. */
async function inject(app: FastifyInstance, request: Request, prefix: string): Promise<Response> {
  const { pathname, search } = new URL(request.url);
  const path = prefix !== "/" && pathname.startsWith(`${prefix}/`) ? pathname.slice(prefix.length) : pathname;
  const answer = await app.inject({
    method: request.method as "GET",
    url: path + search,
    headers: Object.fromEntries(request.headers),
    payloadAsStream: true,
    // A caller that hangs up ends its wait, its upload or its download.
    signal: request.signal,
    ...(request.body === null ? {} : { payload: Readable.fromWeb(request.body as NodeReadableStream) }),
  });
  const headers = new Headers();
  for (const [name, value] of Object.entries(answer.headers)) {
    if (OF_CONNECTION.has(name) || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) headers.append(name, `${one}`);
  }
  const stream = answer.stream();
  if (request.method === "HEAD" || BODILESS.has(answer.statusCode)) {
    stream.resume();
    return new Response(null, { status: answer.statusCode, headers });
  }
  // Whoever stops reading lets go of the file that is being read.
  stream.once("close", () => {
    if (!stream.readableEnded) answer.raw.res.destroy();
  });
  // Without a strategy some versions of Node count chunks as if they were bytes, and gather a file in memory.
  const strategy = new ByteLengthQueuingStrategy({ highWaterMark: QUEUED_BYTES });
  const body = Readable.toWeb(stream, { strategy }) as unknown as ReadableStream;
  return new Response(body, { status: answer.statusCode, headers });
}

/** The answer of a desk that is closed; over a socket, Fastify says the same. */
function refuseClosed(base: string): Response {
  const document = problem("unavailable", "The server is shutting down.");
  return new Response(JSON.stringify(publishProblem(document, base)), {
    status: document.status,
    headers: {
      "cache-control": PRIVATE,
      "content-type": PROBLEM_TYPE,
      "retry-after": formatRetryAfter(HTTP_LIMITS.retryAfterSeconds),
    },
  });
}

const QUEUED_BYTES = 64 * 1024;
/** No body may stand in a `Response` of these. */
const BODILESS = new Set([204, 205, 304]);
/** Header fields about the connection, which is the host's; it also dates its answers. */
const OF_CONNECTION = new Set(["connection", "keep-alive", "transfer-encoding", "date"]);
