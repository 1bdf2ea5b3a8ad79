// Submitting from within the app: the same checks and the same ledger as over HTTP, without the wire.

import { createHash } from "node:crypto";
import { type Duration, parseDuration } from "../core/duration.ts";
import type { Accepted, Caller, Refused } from "../core/jobs.ts";
import { problem } from "../core/problem.ts";
import type { Parts } from "./assemble.ts";

export interface SubmitOptions {
  /** Whose job it is. */
  readonly owner: string;
  /** The owner's tier. Default `default`. */
  readonly tier?: string;
  /** The same key twice is the same job. */
  readonly idempotencyKey?: string;
  /** Starts no earlier than this long from now. */
  readonly delay?: Duration;
  /** Fails where no attempt has begun in this time. */
  readonly startWithin?: Duration;
}

/** Checks the input by the operation's schema and submits it. */
export async function submitTo(
  { ledger, operations }: Pick<Parts, "ledger" | "operations">,
  caller: Caller,
  name: string,
  input: unknown,
  options: SubmitOptions,
): Promise<Accepted | Refused> {
  const ready = operations.get(name);
  if (ready === undefined) throw new TypeError(`There is no operation "${name}".`);
  const checked = await ready.input?.check(input);
  if (checked !== undefined && "errors" in checked) {
    return {
      refused: problem("invalid-input", undefined, { errors: checked.errors }),
      retryAfterSeconds: null,
      rate: null,
    };
  }
  const text = ready.input === null ? "null" : JSON.stringify(input);
  return await ledger.jobs.submit(caller, {
    operation: name,
    input: text,
    upload: null,
    id: null,
    idFromCaller: false,
    key: options.idempotencyKey ?? null,
    fingerprint: createHash("sha256").update(`in process ${name} ${text}`).digest("hex").slice(0, 32),
    delayMs: parseDuration(options.delay ?? 0, "delay"),
    startWithinMs:
      options.startWithin === undefined ? null : parseDuration(options.startWithin, "startWithin"),
    priority: 0,
    trace: null,
  });
}
