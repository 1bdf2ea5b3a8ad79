// Why a job waits, from what a script told of its operation.

import type { Job } from "../../core/job.ts";
import { isDue } from "../../core/machine.ts";
import type { WaitingFor } from "../store.ts";

/** Nobody has asked for work of an operation for this long: it has no worker. */
const WORKER_SILENT_MS = 60_000;

export type RawFacts = readonly [operation: string, paused: number, workerSeenAt: string, processing: string];

export interface OperationFacts {
  readonly isPaused: boolean;
  readonly workerSeenAt: number;
  readonly processing: number;
}

export function operationFacts(raw: readonly RawFacts[]): ReadonlyMap<string, OperationFacts> {
  return new Map(
    raw.map(([operation, paused, seen, processing]) => [
      operation,
      {
        isPaused: paused === 1,
        workerSeenAt: seen === "" ? Number.NEGATIVE_INFINITY : Number(seen),
        processing: Number(processing),
      },
    ]),
  );
}

export function waitingFor(
  job: Job,
  isParked: boolean,
  facts: ReadonlyMap<string, OperationFacts>,
  now: number,
): WaitingFor | null {
  if (job.status !== "queued") return null;
  const known = facts.get(job.operation);
  if (known?.isPaused) return "paused";
  if (!isDue(job, now)) return job.attempt > 0 ? "retry" : "delay";
  // A worker whose slots are all taken asks for nothing, but it is there.
  const isSilent = known === undefined || now - known.workerSeenAt > WORKER_SILENT_MS;
  if (isSilent && (known?.processing ?? 0) === 0) return "no-worker";
  return isParked ? "quota" : "turn";
}
