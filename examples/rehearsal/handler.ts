// The handler of `rehearsal`: sleeps in steps, resumes where an earlier attempt stopped, ends as it was told.

import { setTimeout as sleep } from "node:timers/promises";
import { Failure, type Handler, type InputOf, type OutputOf } from "coatcheck";
import type { rehearsal } from "./operation.ts";

/** How many steps are done. */
export interface Rehearsed {
  readonly step: number;
}

// Work of a few milliseconds is not worth a durable write.
const CHECKPOINT_MS = 100;

const rehearse: Handler<InputOf<typeof rehearsal>, OutputOf<typeof rehearsal>, Rehearsed> = async (
  input,
  attempt,
) => {
  const { seconds, steps, outcome } = input;
  const stepMs = (seconds * 1000) / steps;
  const checkpointSteps = Math.max(1, Math.ceil(CHECKPOINT_MS / Math.max(stepMs, 0.001)));
  // What hangs is deaf: that is what it is for.
  const signal = outcome === "hang" ? undefined : attempt.signal;
  const first = Math.min(attempt.resume?.step ?? 0, steps);
  const startedAt = performance.now();
  for (let step = first + 1; step <= steps; step++) {
    await sleepUntil(startedAt + (step - first) * stepMs, signal);
    attempt.progress((step / steps) * 100, `Step ${step} of ${steps}`);
    // Not after the last step: the outcome follows at once.
    if (step % checkpointSteps === 0 && step < steps) await attempt.checkpoint({ step });
  }
  await end(outcome);
  return { slept: seconds, text: textOf(input.resultBytes) };
};

export default rehearse;

// A timer can't be shorter than a millisecond, so ten thousand short steps are kept to the clock instead.
async function sleepUntil(at: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  const ms = at - performance.now();
  if (ms <= 0) return;
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}

async function end(outcome: InputOf<typeof rehearsal>["outcome"]): Promise<void> {
  switch (outcome) {
    case "complete":
      return;
    case "fail":
      throw new Error("The rehearsal failed, as asked: it is tried again while attempts are left.");
    case "fail-final":
      throw new Failure("The rehearsal failed for good, as asked.", { type: "rehearsed-failure" });
    case "crash":
      return process.exit(1);
    case "hang":
      // The timer holds the process up: with nothing left to wait for, Node would end it.
      return new Promise(() => setInterval(() => {}, 60_000));
  }
}

function textOf(bytes: number): string {
  const line = "Your coat is ready at the desk.\n";
  return line.repeat(Math.ceil(bytes / line.length)).slice(0, bytes);
}
