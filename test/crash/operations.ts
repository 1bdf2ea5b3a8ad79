// The work that crash tests have done: every handler writes down which attempt began before it does anything.

import type { StandardSchemaV1 } from "@standard-schema/spec";
import { Failure, type Handler } from "../../src/core/handler.ts";
import { defineOperation, type Operation } from "../../src/core/operation.ts";
import type { Expectation, Run, Stop } from "./evidence.ts";
import type { House } from "./house.ts";
import { openRecorder } from "./record.ts";

/** What a request asks for. */
export interface WorkInput {
  readonly tag: string;
  readonly ms: number;
}

/** A lease is short, so that a cycle need not wait for its end. */
export const LEASE_MS = 1000;

/** Longer than any wait of the tests: whoever runs such a job again was given its lease back. */
export const LONG_LEASE_MS = 30_000;

// A schema of no library: compiling JSON Schemas is half of a server's start, and these inputs are ours.
const INPUT: StandardSchemaV1<WorkInput> = {
  "~standard": {
    version: 1,
    vendor: "crash",
    validate: (value) => {
      const { tag, ms } = (value ?? {}) as Partial<WorkInput>;
      if (typeof tag === "string" && typeof ms === "number") return { value: { tag, ms } };
      return { issues: [{ message: "must have a tag and ms" }] };
    },
  },
};

const define = (name: string, attempts: number, leaseMs = LEASE_MS) =>
  defineOperation({
    name,
    input: INPUT,
    lease: leaseMs,
    grace: 2000,
    retry: { attempts, backoff: { kind: "fixed", baseMs: 50, jitter: 0 } },
  }) as unknown as Operation;

/** `once` may fail only once: that a lost worker or a shutdown is no failure shows there. */
export const OPERATIONS: readonly Operation[] = [
  define("work", 3),
  define("slow", 3),
  define("retry", 3),
  define("once", 1),
  define("doomed", 3),
  define("lasting", 1, LONG_LEASE_MS),
  define("patient", 1),
];

export const EXPECTATIONS: Readonly<Record<string, Expectation>> = Object.fromEntries(
  OPERATIONS.map(({ name, policy }) => [
    name,
    { outcome: name === "doomed" ? "failed" : "completed", maxAttempts: policy.maxAttempts },
  ]),
);

/** The handlers by operation; they write into the house's records. */
export async function createHandlers(house: House): Promise<Readonly<Record<string, Handler>>> {
  const runs = await openRecorder(house.runs);
  const stops = await openRecorder(house.stops);
  const begin = async (input: WorkInput, attempt: { readonly id: string; readonly number: number }) => {
    const { id, number } = attempt;
    const run: Run = { job: id, attempt: number, tag: input.tag, at: Date.now(), pid: process.pid };
    await runs.append(run);
    return { job: run.job, attempt: run.attempt, tag: run.tag };
  };
  const work: Handler = async (input, attempt) => {
    const done = await begin(input as WorkInput, attempt);
    await pause((input as WorkInput).ms, attempt.signal);
    return { ...done, filling: "x".repeat(done.tag.length * 20) };
  };
  // Only its first attempt takes its time, so that it can be far longer than a shutdown.
  const once: Handler = async (input, attempt) => {
    const done = await begin(input as WorkInput, attempt);
    if (attempt.number === 1) await pause((input as WorkInput).ms, attempt.signal);
    return done;
  };
  const stepwise: Handler = async (input, attempt) => {
    const { ms } = input as WorkInput;
    const done = await begin(input as WorkInput, attempt);
    const from = (attempt.resume as { step: number } | undefined)?.step ?? 0;
    for (let step = from + 1; step <= STEPS; step++) {
      await pause(ms / STEPS, attempt.signal);
      attempt.progress((100 * step) / STEPS, `step ${step}`);
      if (step === STEPS / 2) await attempt.checkpoint({ step });
    }
    return { ...done, from };
  };
  // It hears no signal, so it must be given up.
  const deaf: Handler = async (input, attempt) => {
    const done = await begin(input as WorkInput, attempt);
    const ms = attempt.number === 1 ? (input as WorkInput).ms : 0;
    await new Promise((resolve) => setTimeout(resolve, ms));
    return done;
  };
  // It only waits, and writes down when it is told to stop.
  const patient: Handler = async (input, attempt) => {
    const done = await begin(input as WorkInput, attempt);
    try {
      await pause((input as WorkInput).ms, attempt.signal);
    } catch (reason) {
      await stops.append({ job: attempt.id, attempt: attempt.number, at: Date.now() } satisfies Stop);
      throw reason;
    }
    return done;
  };
  return {
    work,
    once,
    patient,
    lasting: deaf,
    slow: stepwise,
    async retry(input, attempt) {
      const done = await begin(input as WorkInput, attempt);
      if (attempt.number === 1) throw new Error("The first attempt always fails.");
      return done;
    },
    async doomed(input, attempt) {
      await begin(input as WorkInput, attempt);
      throw new Failure("This can't be done.", { status: 422, type: "doomed" });
    },
  };
}

const STEPS = 4;

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
