// The ways into an app: the routes are one Fastify plugin, and every other host reaches the same routes through it.

import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import type { FastifyInstance, FastifyPluginAsync } from "fastify";
import { problem, publishProblem } from "../core/problem.ts";
import { HTTP_LIMITS } from "../http/limits.ts";
import { PRIVATE, PROBLEM_TYPE } from "../protocol/answer.ts";
import { formatRetryAfter } from "../protocol/retry-after.ts";
import type { Parts } from "./assemble.ts";

type Next = (error?: unknown) => void;

export interface Mounts {
  readonly fastify: FastifyPluginAsync;
  readonly middleware: (request: IncomingMessage, response: ServerResponse, next?: Next) => void;
  fetch(request: Request): Promise<Response>;
  close(): Promise<void>;
}

/** Hosts of the routes. What is mounted opens the desk and starts its work. */
export function createMounts(parts: () => Promise<Parts>, publicUrl: string | undefined): Mounts {
  let base = publicUrl?.replace(/\/+$/, "");
  const url = () => {
    if (base === undefined)
      throw new Error("No connection has told yet under which address the routes are reached.");
    return base;
  };
  let closed = false;
  let building: Promise<FastifyInstance> | null = null;
  const build = () => {
    // What failed is tried again: the store may be usable by the next request.
    building ??= buildApp(parts, url).catch((error) => {
      building = null;
      throw error;
    });
    return building;
  };

  return {
    async fastify(app) {
      const { routes, work } = await parts();
      app.addHook("onRequest", ({ raw }, _reply, done) => {
        base ??= `${addressOf(raw)}${app.prefix}`;
        done();
      });
      app.addHook("onReady", async () => work());
      await app.register(routes(url, { health: false }));
    },

    middleware(request, response, next) {
      base ??= `${addressOf(request)}${prefixOf(request)}`;
      build().then(
        (app) => {
          if (next !== undefined) PASS_ON.set(request, next);
          app.routing(request, response);
        },
        (error) => {
          if (next !== undefined) next(error);
          else response.writeHead(503, { "retry-after": "5" }).end();
        },
      );
    },

    async fetch(request) {
      if (base === undefined) {
        throw new TypeError(
          "A host that speaks fetch does not tell its address: give `publicUrl` to coatcheck().",
        );
      }
      if (closed) return refuseClosed(base);
      const app = await build();
      return inject(app, request, new URL(base).pathname);
    },

    async close() {
      closed = true;
      // What could not be built has told so already, and has nothing to close.
      await building?.then(
        (app) => app.close(),
        () => {},
      );
    },
  };
}

/** What the host does with paths that are not ours, by request. */
const PASS_ON = new WeakMap<IncomingMessage, Next>();

async function buildApp(parts: () => Promise<Parts>, url: () => string): Promise<FastifyInstance> {
  const [opened, { createApp }] = await Promise.all([parts(), import("../http/app.ts")]);
  const { routes, work, log } = opened;
  const app = createApp({
    publicUrl: url,
    log,
    unknown: (request, reply) => {
      const next = PASS_ON.get(request.raw);
      if (next === undefined) return false;
      reply.hijack();
      next();
      return true;
    },
  });
  await app.register(routes(url, { health: false }));
  await app.ready();
  work();
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
