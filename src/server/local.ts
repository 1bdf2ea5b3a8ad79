// What keeps a server without credentials to the people at this machine: other sites' pages in their browser must not
// use it, neither by a name of their own that resolves to loopback nor by a form that they send.

import type { FastifyInstance, FastifyRequest } from "fastify";
import { problem } from "../core/problem.ts";
import { HTTP_LIMITS } from "../http/limits.ts";
import { sendProblem } from "../http/reply.ts";
import type { Config } from "./config.ts";

const LOCAL = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

/** Refuses requests under a foreign name, and those that a page of another site makes a browser send. */
export function keepLocal(app: FastifyInstance, config: Config, publicUrl: () => string): void {
  const named = config.publicUrl === null ? null : new URL(config.publicUrl).host;
  const origins = new Set(config.cors.origins);
  const isForeign = ({ method, headers }: FastifyRequest): boolean => {
    const { host = "", origin } = headers;
    // Every browser sends a Host; what sends none is none.
    if (host !== "" && !LOCAL.test(host) && host !== named) return true;
    const isAllowed = origin !== undefined && (origins.has(origin) || origins.has("*"));
    const followsLink = headers["sec-fetch-mode"] === "navigate" && (method === "GET" || method === "HEAD");
    return headers["sec-fetch-site"] === "cross-site" && !isAllowed && !followsLink;
  };
  app.addHook("onRequest", (request, reply, done) => {
    if (!isForeign(request)) return done();
    const refused = problem(
      "forbidden",
      "A server without API keys and JWTs answers this machine only, under its own name.",
    );
    sendProblem({ publicUrl, limits: HTTP_LIMITS }, request, reply, refused, {
      "cache-control": "private, no-store",
    });
  });
}
