// A claim on its way: what it has by now, and what it may still take.

import type { Job } from "../../core/job.ts";
import type { ClaimWrite } from "../store.ts";

export interface Claim {
  readonly index: number;
  readonly write: ClaimWrite;
  readonly jobs: Job[];
  drain: boolean;
  nextAt: number | null;
  isOpen: boolean;
}

/** As the script takes it. */
export function encodeClaim({ write, jobs }: Claim): string[] {
  const slots = new Map(Object.entries(write.slots));
  // What it has by now takes a slot of its operation.
  for (const { operation } of jobs) slots.set(operation, (slots.get(operation) ?? 0) - 1);
  return [
    String(Math.max(0, write.limit - jobs.length)),
    String(write.running + jobs.length),
    String((write.suspects ?? 0) + jobs.filter(isSuspect).length),
    String(slots.size),
    ...[...slots].flatMap(([operation, free]) => [operation, String(Math.max(0, free))]),
  ];
}

// A worker runs one of those that lost a worker at a time.
function isSuspect({ crashes, policy }: Job): boolean {
  return crashes > 0 && !policy.isolated;
}
