// The terms of a submit: what its header fields and query say besides the body.

import type { IncomingMessage } from "node:http";
import { parseDuration } from "../core/duration.ts";
import { type ProblemDocument, problem } from "../core/problem.ts";
import { parseIdempotencyKey } from "../protocol/idempotency-key.ts";
import { type Preference, type Preferences, parsePrefer, unmetPreference } from "../protocol/prefer.ts";
import { parseInstant } from "./instant.ts";

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
  const said = readFields(raw.rawHeaders);
  const key = said.keys === null ? NO_KEY : parseIdempotencyKey(said.keys);
  if (key.kind === "invalid") return { refused: problem("invalid-idempotency-key", key.detail) };
  const prefer = parsePrefer(said.prefer);
  const unmet = unmetPreference(prefer, UNDERSTOOD);
  if (unmet !== null) return invalid(unmet);
  const terms = {
    prefer,
    key: key.kind === "key" ? key.key : null,
    delayMs: 0,
    startWithinMs: null,
    priority: 0,
    trace: said.traceparent === undefined ? null : readTrace(said.traceparent, said.tracestate),
    dryRun: false,
    parameters: null,
  };
  const at = raw.url === undefined ? -1 : raw.url.indexOf("?");
  // Most requests have none of the rest.
  if (at === -1 && said.own === null) return terms;
  const own = readOwn(said.own ?? NO_FIELDS, prefer.handling === "strict", bounds);
  if ("refused" in own) return own;
  const query = readQuery(at === -1 ? "" : (raw.url as string).slice(at + 1));
  return "refused" in query ? query : { ...terms, ...own, ...query };
}

const UNDERSTOOD: readonly Preference[] = [
  "respond-async",
  "wait",
  "return=minimal",
  "return=representation",
  "handling",
];
const NO_KEY = { kind: "none" } as const;
const NO_FIELDS: ReadonlyMap<string, string> = new Map();

/** The header fields that matter here, as they came. */
interface Said {
  prefer: string | undefined;
  keys: string[] | null;
  traceparent: string | undefined;
  tracestate: string | undefined;
  /** `coatcheck-…` fields; a repeated one is joined, and so not valid. */
  own: Map<string, string> | null;
}

// One pass over the raw fields, told apart by their length first: asking Node's headers object for the many names that
// most requests do not have costs several times as much, and it joins repeated keys with a comma that a key may contain.
function readFields(rawHeaders: readonly string[]): Said {
  const said: Said = {
    prefer: undefined,
    keys: null,
    traceparent: undefined,
    tracestate: undefined,
    own: null,
  };
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const raw = rawHeaders[at] as string;
    const { length } = raw;
    // The lengths of prefer, tracestate, traceparent and idempotency-key; ours begin with a c.
    if (length !== 6 && length !== 10 && length !== 11 && length !== 15 && (raw.charCodeAt(0) | 32) !== 99)
      continue;
    const name = raw.toLowerCase();
    const value = rawHeaders[at + 1] as string;
    if (name === "idempotency-key") {
      if (said.keys === null) said.keys = [value];
      else said.keys.push(value);
    } else if (name === "prefer")
      said.prefer = said.prefer === undefined ? value : `${said.prefer}, ${value}`;
    else if (name === "traceparent") said.traceparent = said.traceparent === undefined ? value : "";
    else if (name === "tracestate") {
      said.tracestate = said.tracestate === undefined ? value : `${said.tracestate},${value}`;
    } else if (name.startsWith("coatcheck-")) {
      said.own ??= new Map();
      const before = said.own.get(name);
      said.own.set(name, before === undefined ? value : `${before}, ${value}`);
    }
  }
  return said;
}

type Own = Pick<Terms, "delayMs" | "startWithinMs" | "priority">;

function readOwn(
  own: ReadonlyMap<string, string>,
  strict: boolean,
  bounds: TermBounds,
): Own | { readonly refused: ProblemDocument } {
  const { delayMs: mostMs } = bounds.limits;
  const delayMs = readTime(own.get("coatcheck-delay"), bounds);
  if (delayMs === undefined || (delayMs ?? 0) > mostMs) {
    return invalid(`Coatcheck-Delay must be ${TIME_FORMS}, at most ${mostMs / 86_400_000} days ahead.`);
  }
  const startWithinMs = readTime(own.get("coatcheck-deadline"), bounds);
  if (startWithinMs === undefined) return invalid(`Coatcheck-Deadline must be ${TIME_FORMS}.`);
  const priority = readPriority(own.get("coatcheck-priority"));
  if (priority === null) return invalid("Coatcheck-Priority must be a whole number from -100 to 0.");
  // Taken in silence, it would be a promise that nobody keeps.
  if (own.has("coatcheck-webhook")) return invalid("Coatcheck-Webhook is not supported by this server.");
  if (strict && [...own.keys()].some((name) => !TERMS.includes(name))) {
    return invalid("handling=strict: a Coatcheck- header field is none that this server knows.");
  }
  return { delayMs: delayMs ?? 0, startWithinMs, priority };
}

function readQuery(
  query: string,
): Pick<Terms, "dryRun" | "parameters"> | { readonly refused: ProblemDocument } {
  const parameters = new URLSearchParams(query);
  const dryRun = parameters.getAll("dry-run");
  if (dryRun.length > 1 || (dryRun.length === 1 && dryRun[0] !== "true" && dryRun[0] !== "false")) {
    return { refused: problem("invalid-query", "dry-run is true or false, once.") };
  }
  parameters.delete("dry-run");
  return { dryRun: dryRun[0] === "true", parameters: parameters.size === 0 ? null : parameters };
}

const TERMS = ["coatcheck-delay", "coatcheck-deadline", "coatcheck-priority"];
const TIME_FORMS = 'whole seconds, a duration such as "90s" or "2h", or an RFC 3339 instant';

function invalid(detail: string): { readonly refused: ProblemDocument } {
  return { refused: problem("invalid-request", detail) };
}

/** How far ahead a time lies, ms: 0 where it has passed, null without one, undefined where it is none. */
function readTime(value: string | undefined, { now }: TermBounds): number | null | undefined {
  if (value === undefined) return null;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const instant = parseInstant(value);
  // A deadline that has passed is not malformed: a repeat of an old request has one.
  if (!Number.isNaN(instant)) return Math.max(0, instant - now());
  try {
    return parseDuration(value, "");
  } catch {
    return undefined;
  }
}

function readPriority(value: string | undefined): number | null {
  if (value === undefined) return 0;
  if (!/^-?\d{1,3}$/.test(value)) return null;
  const priority = Number(value);
  return priority >= -100 && priority <= 0 ? priority : null;
}

// W3C Trace Context §3.2: lower-case hex, version ff and all-zero ids are invalid, and an invalid header is as none.
const TRACEPARENT =
  /^(?!ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}$|^(?!00|ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}-[ -~]{1,100}$/;
const TRACESTATE = /^[ -~]{1,512}$/;

function readTrace(parent: string, state: string | undefined): string | null {
  if (!TRACEPARENT.test(parent)) return null;
  return state !== undefined && TRACESTATE.test(state) ? `${parent} ${state}` : parent;
}
