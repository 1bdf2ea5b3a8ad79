// The ways into an app: the routes are one Fastify plugin, and every other host reaches the same routes through it.

import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import type { FastifyInstance, FastifyPluginAsync } from "fastify";
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
  let building: Promise<FastifyInstance> | null = null;
  const build = () => {
    building ??= buildApp(parts, url);
    return building;
  };

  return {
    async fastify(app) {
      const { routes, work } = await parts();
      app.addHook("onRequest", async ({ raw }) => {
        base ??= `${addressOf(raw)}${app.prefix}`;
      });
      app.addHook("onReady", async () => work());
      await app.register(routes(url));
    },

    middleware(request, response, next) {
      // Express keeps the path below which the routes are mounted here; Fastify sees what is left of the URL.
      const { baseUrl = "" } = request as { baseUrl?: string };
      base ??= `${addressOf(request)}${baseUrl}`;
      build().then(
        (app) => {
          if (next !== undefined) PASS_ON.set(request, next);
          app.routing(request, response);
        },
        (error) => {
          building = null;
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
      const app = await build();
      return inject(app, request, new URL(base).pathname);
    },

    async close() {
      await (await building)?.close();
    },
  };
}

/** What the host does with paths that are not ours, by request. */
const PASS_ON = new WeakMap<IncomingMessage, Next>();

async function buildApp(parts: () => Promise<Parts>, url: () => string): Promise<FastifyInstance> {
  const [{ routes, work }, { createApp }] = await Promise.all([parts(), import("../http/app.ts")]);
  const app = createApp({
    unknown: (request, reply) => {
      const next = PASS_ON.get(request.raw);
      if (next === undefined) return false;
      reply.hijack();
      next();
      return true;
    },
  });
  await app.register(routes(url));
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

const BODILESS = new Set(["GET", "HEAD"]);

async function inject(app: FastifyInstance, request: Request, prefix: string): Promise<Response> {
  const { pathname, search } = new URL(request.url);
  const path = prefix !== "/" && pathname.startsWith(`${prefix}/`) ? pathname.slice(prefix.length) : pathname;
  const answer = await app.inject({
    method: request.method as "GET",
    url: path + search,
    headers: Object.fromEntries(request.headers),
    payloadAsStream: true,
    ...(request.body === null || BODILESS.has(request.method)
      ? {}
      : { payload: Readable.fromWeb(request.body as import("node:stream/web").ReadableStream) }),
  });
  const headers = new Headers();
  for (const [name, value] of Object.entries(answer.headers)) {
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== undefined) headers.append(name, `${one}`);
  }
  const isBodiless = request.method === "HEAD" || answer.statusCode === 204 || answer.statusCode === 304;
  const body = isBodiless ? null : (Readable.toWeb(answer.stream()) as unknown as ReadableStream);
  return new Response(body, { status: answer.statusCode, headers });
}
