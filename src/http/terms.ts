// The terms of a submit: what its header fields and query say besides the body.

import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { parseDuration } from "../core/duration.ts";
import { type ProblemDocument, problem } from "../core/problem.ts";
import { parseIdempotencyKey } from "../protocol/idempotency-key.ts";
import { type Preferences, parsePrefer } from "../protocol/prefer.ts";

export interface Terms {
  readonly prefer: Preferences;
  readonly key: string | null;
  readonly delayMs: number;
  readonly startWithinMs: number | null;
  readonly priority: number;
  readonly trace: string | null;
  readonly dryRun: boolean;
  /** The query's parameters without those that are ours; null where it has none. */
  readonly parameters: URLSearchParams | null;
}

export interface TermBounds {
  readonly now: () => number;
  readonly limits: { readonly delayMs: number };
}

/** Reads the terms, or says what is wrong with them. */
export function readTerms(
  raw: IncomingMessage,
  bounds: TermBounds,
): Terms | { readonly refused: ProblemDocument } {
  const { headers } = raw;
  const key = readKey(raw);
  if (key !== null && typeof key !== "string") return key;
  const prefer = parsePrefer(headers.prefer as string | undefined);
  const query = raw.url === undefined ? -1 : raw.url.indexOf("?");
  const trace = readTrace(headers);
  // Most requests have none of the rest.
  if (query === -1 && prefer.handling !== "strict" && !hasTerms(headers)) {
    return { ...NO_TERMS, prefer, key, trace };
  }
  const delayMs = readTime(headers["coatcheck-delay"], bounds);
  if (delayMs === undefined || (delayMs ?? 0) > bounds.limits.delayMs) {
    return invalid(
      `Coatcheck-Delay must be ${TIME_FORMS}, at most ${bounds.limits.delayMs / 86_400_000} days ahead.`,
    );
  }
  const startWithinMs = readTime(headers["coatcheck-deadline"], bounds);
  if (startWithinMs === undefined) return invalid(`Coatcheck-Deadline must be ${TIME_FORMS}.`);
  const priority = readPriority(headers["coatcheck-priority"]);
  if (priority === null) return invalid("Coatcheck-Priority must be a whole number from -100 to 0.");
  if (headers["coatcheck-webhook"] !== undefined) {
    return invalid("Coatcheck-Webhook is not supported by this server.");
  }
  if (prefer.handling === "strict" && Object.keys(headers).some(isUnknownTerm)) {
    return invalid("handling=strict: a Coatcheck- header field is none that this server knows.");
  }
  const parameters = query === -1 ? null : new URLSearchParams((raw.url as string).slice(query + 1));
  const dryRun = parameters?.getAll("dry-run") ?? [];
  if (dryRun.length > 1 || (dryRun.length === 1 && dryRun[0] !== "true" && dryRun[0] !== "false")) {
    return { refused: problem("invalid-query", "dry-run is true or false, once.") };
  }
  parameters?.delete("dry-run");
  return {
    prefer,
    key,
    delayMs: delayMs ?? 0,
    startWithinMs,
    priority,
    trace,
    dryRun: dryRun[0] === "true",
    parameters: parameters === null || parameters.size === 0 ? null : parameters,
  };
}

const NO_TERMS = { delayMs: 0, startWithinMs: null, priority: 0, dryRun: false, parameters: null };
const TERMS = ["coatcheck-delay", "coatcheck-deadline", "coatcheck-priority", "coatcheck-webhook"];
const TIME_FORMS = 'whole seconds, a duration such as "90s" or "2h", or an RFC 3339 instant';

function hasTerms(headers: IncomingHttpHeaders): boolean {
  return (
    headers["coatcheck-delay"] !== undefined ||
    headers["coatcheck-deadline"] !== undefined ||
    headers["coatcheck-priority"] !== undefined ||
    headers["coatcheck-webhook"] !== undefined
  );
}

function isUnknownTerm(name: string): boolean {
  return name.startsWith("coatcheck-") && !TERMS.includes(name);
}

function invalid(detail: string): { readonly refused: ProblemDocument } {
  return { refused: problem("invalid-request", detail) };
}

function readKey(raw: IncomingMessage): string | null | { readonly refused: ProblemDocument } {
  if (raw.headers["idempotency-key"] === undefined) return null;
  // Node joins repeated fields with a comma, which a key may contain: only the raw ones tell one from two.
  const values: string[] = [];
  const { rawHeaders } = raw;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    if (name.length === 15 && name.toLowerCase() === "idempotency-key")
      values.push(rawHeaders[at + 1] as string);
  }
  const key = parseIdempotencyKey(values);
  if (key.kind === "key") return key.key;
  return key.kind === "none" ? null : { refused: problem("invalid-idempotency-key", key.detail) };
}

/** How far ahead a time lies, ms: 0 where it has passed, null without one, undefined where it is none. */
function readTime(value: string | string[] | undefined, { now }: TermBounds): number | null | undefined {
  if (value === undefined) return null;
  if (typeof value !== "string") return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const instant = INSTANT.test(value) ? Date.parse(value) : Number.NaN;
  // A deadline that has passed is not malformed: a repeat of an old request has one.
  if (!Number.isNaN(instant)) return Math.max(0, instant - now());
  try {
    return parseDuration(value, "");
  } catch {
    return undefined;
  }
}

// RFC 3339 §5.6; Date.parse takes much more than it.
const INSTANT = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/;

function readPriority(value: string | string[] | undefined): number | null {
  if (value === undefined) return 0;
  if (typeof value !== "string" || !/^-?\d{1,3}$/.test(value)) return null;
  const priority = Number(value);
  return priority >= -100 && priority <= 0 ? priority : null;
}

// W3C Trace Context §3.2: lower-case hex, version ff and all-zero ids are invalid, and an invalid header is as none.
const TRACEPARENT =
  /^(?!ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}$|^(?!00|ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}-[ -~]{1,100}$/;
const TRACESTATE = /^[ -~]{1,512}$/;

function readTrace(headers: IncomingHttpHeaders): string | null {
  const parent = headers.traceparent;
  if (typeof parent !== "string" || !TRACEPARENT.test(parent)) return null;
  const state = headers.tracestate;
  return typeof state === "string" && TRACESTATE.test(state) ? `${parent} ${state}` : parent;
}
