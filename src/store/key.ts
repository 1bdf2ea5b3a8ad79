// How long a key names its job, which every store has to judge alike.

import type { Job } from "../core/job.ts";

/** A key lives this long at least, and as long as its job. */
const KEY_MS = 24 * 3600 * 1000;

/**
 * When the key of a job that is gone may name another one, ms since 1970, to be judged by the clock that is behind. It counts
 * from the end of the job, which is dated by the clock that was ahead: a job that was accepted under a clock that was set back
 * would let its key go a day early.
 */
export function keyEndsAt(job: Job): number {
  const endedAt = job.expiresAt === null ? job.createdAt : job.expiresAt - job.policy.retentionMs;
  return Math.max(job.createdAt, endedAt) + KEY_MS;
}
