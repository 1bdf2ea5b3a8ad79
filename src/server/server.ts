// The standalone server: the desk's routes, and around them what only a server of its own has.

import cors from "@fastify/cors";
import type { FastifyInstance } from "fastify";
import type { Logger } from "pino";
import { problem } from "../core/problem.ts";
import { createApp } from "../http/app.ts";
import { HTTP_LIMITS } from "../http/limits.ts";
import { sendProblem } from "../http/reply.ts";
import { PRIVATE } from "../protocol/answer.ts";
import { createLog } from "../telemetry/log.ts";
import { VERSION } from "../version.ts";
import type { Config } from "./config.ts";
import { deskOptionsOf, register } from "./configured.ts";
import { createDesk } from "./desk.ts";
import { addFront } from "./front.ts";
import { createGuard } from "./guard.ts";
import { addHealth, type Health } from "./health.ts";
import { listen } from "./listen.ts";
import { keepLocal } from "./local.ts";

export interface RunningServer {
  /** Where it is reached on this machine. */
  readonly url: string;
  /** Ends gracefully: no more is accepted, running attempts get their time to stop, and until then callers can still ask. */
  close(): Promise<void>;
}

/** Starts a server; rejects with one sentence where the store or the address can't be used. */
export async function startServer(config: Config): Promise<RunningServer> {
  const log = createLog({
    level: config.log.level,
    ...(config.log.pretty === null ? {} : { pretty: config.log.pretty }),
  });
  const { access, close: unwatch } = createGuard(config, (sentence) => log.warn(sentence));
  const { desk, parts } = createDesk({
    ...deskOptionsOf(config, log),
    access,
    readyTiers: config.tiers,
  });
  register(desk, config.operations);
  try {
    const { routes, work, stopWork, store, shared } = await parts();
    let url = config.publicUrl ?? "";
    const app = createApp({ publicUrl: () => url, log });
    if (config.cors.origins.length > 0) await app.register(cors, corsOptions(config.cors.origins));
    if (config.access.kind === "open") keepLocal(app, config, () => url);
    const health = addHealth(app, store);
    refuseWork(app, health, () => url);
    const operations = config.operations.map(({ operation }) => operation);
    addFront(app, { publicUrl: () => url, limits: HTTP_LIMITS, log }, { version: VERSION, operations });
    await app.register(routes(() => url, { health: true }));
    const listening = await listen(app, config.host, config.port);
    if (config.publicUrl === null) url = listening;
    if (config.work ?? true) work();
    announce(log, config, listening, { store: store.name, shared });
    return {
      url: listening,
      async close() {
        health.drain();
        await stopWork(config.shutdownGraceMs);
        const lingerMs = Math.min(LONGEST_LINGER_MS, config.shutdownGraceMs);
        const linger = setTimeout(() => app.server.closeAllConnections(), lingerMs);
        await app.close();
        clearTimeout(linger);
        await desk.close();
        unwatch();
      },
    };
  } catch (error) {
    unwatch();
    await desk.close().catch(() => {});
    throw error;
  }
}

// What is still under way once the work has ended can be repeated, a download from where it broke off.
const LONGEST_LINGER_MS = 5_000;

/** Once the server drains, takes no more work: whoever asks, fetches or cancels is served until the attempts have ended. */
function refuseWork(app: FastifyInstance, health: Health, publicUrl: () => string): void {
  app.addHook("onRequest", (request, reply, done) => {
    if (!health.isDraining() || (request.method !== "POST" && request.method !== "PUT")) return done();
    const refused = problem("unavailable", "The server is shutting down.");
    sendProblem({ publicUrl, limits: HTTP_LIMITS }, request, reply, refused, { "cache-control": PRIVATE });
  });
}

function announce(
  log: Logger,
  config: Config,
  url: string,
  { store, shared }: { readonly store: string; readonly shared: boolean },
): void {
  if (config.access.kind === "open") {
    log.warn(
      "there are no API keys and no JWTs: the server takes requests from this machine only, and everyone is one owner",
    );
  }
  if (config.limits === "off") log.warn("limits are off: rates and quotas are lifted");
  if (shared && config.publicUrl === null) {
    log.warn(
      { url },
      "there is no publicUrl: the URLs of jobs name this server alone, though others may share its store",
    );
  }
  if (config.work === false) log.info("this server only serves: the work is done by `coatcheck work`");
  const operations = config.operations.map(({ operation }) => operation.name);
  log.info({ url, store, operations, version: VERSION }, "ready");
}

// What a page of another origin needs to send and to see (protocol: Traps that real clients set).
function corsOptions(origins: readonly string[]) {
  return {
    origin: origins.includes("*") ? "*" : [...origins],
    methods: ["GET", "HEAD", "POST", "PUT", "DELETE"],
    allowedHeaders: [
      "content-type",
      "idempotency-key",
      "prefer",
      "authorization",
      "if-none-match",
      "coatcheck-deadline",
      "coatcheck-delay",
      "coatcheck-priority",
      "traceparent",
      "tracestate",
    ],
    exposedHeaders: [
      "Location",
      "Content-Location",
      "Retry-After",
      "Link",
      "ETag",
      "RateLimit",
      "RateLimit-Policy",
      "Idempotency-Replayed",
      "Preference-Applied",
      "Content-Disposition",
    ],
    maxAge: 7200,
  };
}
