// `defineOperation`: a kind of slow work, as data. A client may import a definition without importing the server.

import { type Duration, parseDuration } from "./duration.ts";
import type { Policy } from "./job.ts";
import { type Backoff, DEFAULT_BACKOFF } from "./retry.ts";
import type { Parsed, Schema } from "./schema.ts";

/** Which files an operation takes. */
export interface FilePolicy {
  /** Media types or ranges such as `video/*`; a raw body of any other type is answered 415. */
  readonly types: readonly string[];
  /** Most bytes of the file; more is answered 413. Default 1 GiB. */
  readonly maxBytes?: number;
  /** Whether a request without a file is answered 422. Default false. */
  readonly required?: boolean;
}

/** What a developer says of an operation. Durations are milliseconds or text such as `"15s"`, `"24h"`. */
export interface OperationOptions<Input extends Schema = Schema, Output extends Schema = Schema> {
  /** Lower-case letters, digits and hyphens, 1 to 64; unique. */
  readonly name: string;
  /** Where callers submit. Default `/operations/{name}`. */
  readonly path?: string;
  /** One line for people, in the OpenAPI document and the dashboard. */
  readonly title?: string;
  readonly description?: string;
  /** What a request's JSON must be. Without it the operation takes no input. */
  readonly input?: Input;
  /** What a handler's JSON result must be; a result that is not fails the attempt. */
  readonly output?: Output;
  /** Set where the operation takes a file, as a raw body or a multipart part. */
  readonly file?: FilePolicy;
  readonly retry?: {
    /** Most attempts that may fail, the first included; 1 to 100. Default 3. Crashes are counted apart. */
    readonly attempts?: number;
    /** Default exponential from 1 s to 5 min, half of it random. */
    readonly backoff?: Backoff["kind"] | Partial<Backoff>;
  };
  /** The longest one attempt may run; then it has failed and is tried again. Default 1 h. */
  readonly timeout?: Duration;
  /** How long a worker may be silent before its attempt counts as lost. Default 15 s. */
  readonly lease?: Duration;
  /** How long a handler may go on after it was asked to stop. Default 10 s. */
  readonly grace?: Duration;
  /** A job that did not start within this time fails with `deadline-exceeded`. Default: never. */
  readonly startWithin?: Duration;
  /** How long the outcome is kept. Default 24 h. */
  readonly retention?: Duration;
  /** `"required"`: a submit without Idempotency-Key is answered 400. Default `"optional"`. */
  readonly idempotency?: "optional" | "required";
  /** `"content"`: equal input of the same owner, still alive, is the same job. */
  readonly dedupe?: "content";
  /** Added to the caller's tier priority; higher starts first. Default 0. */
  readonly priority?: number;
  /** Most jobs waiting in this operation; then 503. Default 1,000,000. */
  readonly backlog?: number;
  /** Most bytes of a JSON body; then 413. Default 256 KiB. */
  readonly maxBodyBytes?: number;
}

/** A defined operation: plain data, every default filled in. */
export interface Operation<Input extends Schema = Schema, Output extends Schema = Schema> {
  readonly name: string;
  readonly path: string;
  readonly title: string;
  readonly description: string;
  readonly input: Input | null;
  readonly output: Output | null;
  readonly file: Required<FilePolicy> | null;
  readonly policy: Policy;
  readonly startWithinMs: number | null;
  readonly idempotency: "optional" | "required";
  readonly dedupe: "content" | null;
  readonly backlog: number;
  readonly maxBodyBytes: number;
}

/** What the handler of an operation receives. */
export type InputOf<O> = O extends Operation<infer Input, Schema> ? Parsed<Input> : never;
/** What the handler of an operation gives back. */
export type OutputOf<O> = O extends Operation<Schema, infer Output> ? Parsed<Output> : never;

const DEFAULTS = {
  attempts: 3,
  timeout: "1h",
  lease: "15s",
  grace: "10s",
  retention: "24h",
  backlog: 1_000_000,
  fileBytes: 1024 ** 3,
  // Large enough for every hand-written JSON request; larger things are files.
  bodyBytes: 256 * 1024,
} as const;

/** Defines an operation. Throws a `TypeError` or `RangeError` in one sentence where an option is wrong. */
export function defineOperation<
  const Input extends Schema = Record<string, never>,
  const Output extends Schema = Record<string, never>,
>(options: OperationOptions<Input, Output>): Operation<Input, Output> {
  const { name } = options;
  refuseUnknown(options, name);
  const path = options.path ?? `/operations/${name}`;
  checkPlace(name, path);
  const ms = (value: Duration, what: string) => parseDuration(value, `${what} of ${name}`);
  return {
    name,
    path,
    title: options.title ?? name,
    description: options.description ?? "",
    input: options.input ?? null,
    output: options.output ?? null,
    file:
      options.file === undefined
        ? null
        : {
            types: options.file.types,
            maxBytes: whole(
              options.file.maxBytes ?? DEFAULTS.fileBytes,
              1,
              2 ** 50,
              `file.maxBytes of ${name}`,
            ),
            required: options.file.required ?? false,
          },
    policy: {
      maxAttempts: whole(options.retry?.attempts ?? DEFAULTS.attempts, 1, 100, `retry.attempts of ${name}`),
      backoff: backoffOf(options.retry?.backoff),
      timeoutMs: ms(options.timeout ?? DEFAULTS.timeout, "timeout"),
      leaseMs: Math.max(1000, ms(options.lease ?? DEFAULTS.lease, "lease")),
      graceMs: ms(options.grace ?? DEFAULTS.grace, "grace"),
      retentionMs: ms(options.retention ?? DEFAULTS.retention, "retention"),
      priority: whole(options.priority ?? 0, -100, 100, `priority of ${name}`),
      weight: 1,
      running: null,
      isolated: false,
    },
    startWithinMs: options.startWithin === undefined ? null : ms(options.startWithin, "startWithin"),
    idempotency: options.idempotency ?? "optional",
    dedupe: options.dedupe ?? null,
    backlog: whole(options.backlog ?? DEFAULTS.backlog, 1, 1e9, `backlog of ${name}`),
    maxBodyBytes: whole(options.maxBodyBytes ?? DEFAULTS.bodyBytes, 1, 2 ** 30, `maxBodyBytes of ${name}`),
  };
}

/** Throws a `TypeError` in one sentence where an operation can't be called so or submitted to there. */
export function checkPlace(name: unknown, path: unknown): void {
  if (typeof name !== "string" || !/^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/.test(name)) {
    throw new TypeError(
      `An operation's name is 1 to 64 lower-case letters, digits and hyphens; ${JSON.stringify(name)} is not.`,
    );
  }
  if (
    typeof path !== "string" ||
    !/^(?:\/[A-Za-z0-9._~-]+)+$/.test(path) ||
    /^\/(?:jobs|attempts|health|problems|rels|openapi\.json)(?:\/|$)/.test(path)
  ) {
    throw new TypeError(
      `The path of ${name} must be like "/videos/transcode", without parameters, and not below /jobs, /attempts, /health, /problems or /rels.`,
    );
  }
}

const OPTIONS = new Set<string>([
  "name",
  "path",
  "title",
  "description",
  "input",
  "output",
  "file",
  "retry",
  "timeout",
  "lease",
  "grace",
  "startWithin",
  "retention",
  "idempotency",
  "dedupe",
  "priority",
  "backlog",
  "maxBodyBytes",
] satisfies (keyof OperationOptions)[]);

function refuseUnknown(options: object, name: unknown): void {
  const unknown = Object.keys(options).find((key) => !OPTIONS.has(key));
  if (unknown !== undefined) {
    throw new TypeError(
      `The operation ${String(name)} has an unknown option "${unknown}"; known are ${[...OPTIONS].join(", ")}.`,
    );
  }
}

function whole(value: number, least: number, most: number, what: string): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`${what} must be a whole number from ${least} to ${most}.`);
}

function backoffOf(choice: Backoff["kind"] | Partial<Backoff> | undefined): Backoff {
  return typeof choice === "string"
    ? { ...DEFAULT_BACKOFF, kind: choice }
    : { ...DEFAULT_BACKOFF, ...choice };
}
