// The log: JSON lines for machines, one plain line each for people at a terminal, and in both only fields that are allowed.

import { type DestinationStream, type Logger, type LoggerOptions, pino, stdTimeFunctions } from "pino";
import type { Event, EventKind } from "../core/event.ts";
import { lineFormatter } from "./line.ts";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

export const LOG_LEVELS: readonly LogLevel[] = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];

export interface LogOptions {
  /** Default `info`. */
  readonly level?: LogLevel;
  /** Lines for people. Default: whether standard output is a terminal. */
  readonly pretty?: boolean;
  /** Where the lines go. Default: standard output. */
  readonly to?: DestinationStream;
}

/**
 * Makes a logger. Of every object that is logged only the fields of `ALLOWED` are written: a list of what may be
 * said can't forget a secret, as a list of what may not can.
 */
export function createLog(options: LogOptions = {}): Logger {
  const pretty = options.pretty ?? process.stdout.isTTY === true;
  const settings: LoggerOptions = {
    level: options.level ?? "info",
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: {
      level: (label) => ({ level: label }),
      log: allowed,
    },
    serializers: { err: describeError, req: describeRequest, res: describeResponse },
  };
  if (!pretty) return guarded(options.to === undefined ? pino(settings) : pino(settings, options.to));
  const to = options.to ?? process.stdout;
  const format = lineFormatter(
    options.to === undefined && process.stdout.isTTY === true && process.env.NO_COLOR === undefined,
  );
  return guarded(pino(settings, { write: (line: string) => void to.write(format(line)) }));
}

/** One line per transition of a job: what happened, to which job, whose, in which attempt. */
export function logTransitions(log: Logger, event: Event): void {
  const { kind, id, owner, operation, status, attempt, seq } = event;
  log[LEVELS[kind]]({ event: kind, job: id, operation, owner, status, attempt, seq }, SAID[kind]);
}

// Progress is no transition, and an expiry is housekeeping: they are told only to those who ask.
const LEVELS = {
  queued: "info",
  started: "info",
  progress: "debug",
  retrying: "warn",
  "cancel-requested": "info",
  completed: "info",
  failed: "warn",
  canceled: "info",
  expired: "debug",
} as const satisfies Record<EventKind, LogLevel>;

const SAID = {
  queued: "queued",
  started: "started",
  progress: "made progress",
  retrying: "will be tried again",
  "cancel-requested": "was asked to stop",
  completed: "completed",
  failed: "failed",
  canceled: "was canceled",
  expired: "expired",
} as const satisfies Record<EventKind, string>;

const ALLOWED = new Set([
  // Of a job.
  ...["event", "job", "operation", "owner", "status", "attempt", "seq", "worker", "slots", "reason"],
  // Of a request: see the serializers.
  ...["req", "res", "err", "error", "reqId", "responseTime", "problem", "instance", "method"],
  // Of the server.
  ...[
    "url",
    "host",
    "port",
    "version",
    "store",
    "files",
    "access",
    "limits",
    "durability",
    "operations",
    "signal",
  ],
  ...["config", "keys", "name", "bytes", "count", "ms", "code"],
  // What a handler logs of its own accord.
  "fields",
]);

function allowed(fields: Record<string, unknown>): Record<string, unknown> {
  const said: Record<string, unknown> = {};
  for (const name in fields) if (ALLOWED.has(name)) said[name] = fields[name];
  return said;
}

/** The formatters leave out what a child logger is bound to, so that is filtered where it is bound. */
function guarded(log: Logger): Logger {
  const child = log.child as unknown as (this: Logger, bindings: object, options?: object) => Logger;
  return Object.assign(log, {
    child(this: Logger, bindings: Record<string, unknown>, options?: object) {
      return child.call(this, allowed(bindings), options);
    },
  });
}

function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) };
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    ...(error.stack === undefined ? {} : { stack: error.stack }),
    ...(error.cause === undefined ? {} : { cause: describeCause(error.cause) }),
  };
}

// One step down is enough to see where it comes from, and cannot go in circles.
function describeCause(cause: unknown): unknown {
  return cause instanceof Error ? { type: cause.name, message: cause.message } : { message: String(cause) };
}

// No header, and of the URL no query: either may hold credentials.
function describeRequest(request: unknown): unknown {
  const { method, url } = request as { readonly method?: string; readonly url?: string };
  return { method, path: url?.split("?", 1)[0] };
}

function describeResponse(response: unknown): unknown {
  const { statusCode } = response as { readonly statusCode?: number };
  return { statusCode };
}
