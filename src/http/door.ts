// What the routes share: the roles they serve, and how they speak to the outside.

import type { FastifyRequest } from "fastify";
import type { Blobs } from "../blob/blobs.ts";
import type { Jobs } from "../core/jobs.ts";
import type { Operations } from "../core/operations.ts";
import type { Feed } from "./body.ts";
import type { Access, Identity } from "./identity.ts";
import { HTTP_LIMITS, type HttpLimits } from "./limits.ts";
import { createWaits, type Waits } from "./waits.ts";

/** Where the doors write what an operator should know; pino's loggers are such. */
export interface HttpLog {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface HttpOptions {
  readonly jobs: Jobs;
  readonly operations: Operations;
  readonly blobs: Blobs;
  readonly access: Access;
  /** The URL that callers reach the routes at, any mount prefix included, without a slash at its end. Never taken from `Host`. */
  readonly publicUrl: () => string;
  /** Seals list cursors: 32 bytes, the same on every server of a store. */
  readonly cursorKey: Uint8Array;
  readonly log: HttpLog;
  readonly limits?: Partial<HttpLimits>;
  /** Default `Date.now`. */
  readonly now?: () => number;
}

/** The options with everything filled in. */
export interface Door extends Required<HttpOptions> {
  readonly limits: HttpLimits;
  readonly waits: Waits;
  /** Uploads that are under way, and whose they are. */
  readonly uploads: Map<Feed, string>;
}

export function openDoor(options: HttpOptions): Door {
  const limits = { ...HTTP_LIMITS, ...options.limits };
  return { now: Date.now, ...options, limits, waits: createWaits(options.jobs, limits), uploads: new Map() };
}

/** Ends what holds connections: waits are answered at once, uploads have a moment to end by themselves. */
export async function closeDoor({ waits, uploads, limits }: Door): Promise<void> {
  const answered = waits.close();
  const under = [...uploads.keys()];
  const ended = under.map(({ stream }) => new Promise((resolve) => stream.once("close", resolve)));
  const timer = setTimeout(() => {
    for (const feed of under) feed.stop();
  }, limits.lingerMs);
  await Promise.all([answered, ...ended]);
  clearTimeout(timer);
}

declare module "fastify" {
  interface FastifyRequest {
    /** Who asks; set before any handler of a route that needs to know. */
    coatcheckIdentity: Identity | null;
  }
}

/** Who asks, in a handler that runs behind the guard. */
export function identityOf(request: FastifyRequest): Identity {
  const identity = request.coatcheckIdentity;
  if (identity === null) throw new Error("A route that needs an identity has no guard.");
  return identity;
}
