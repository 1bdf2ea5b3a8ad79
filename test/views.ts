// Jobs as their owners see them, for tests of what is said about them.

import type { Job } from "../src/core/job.ts";
import type { View } from "../src/core/jobs.ts";
import { defineOperation } from "../src/core/operation.ts";

const { policy } = defineOperation({ name: "transcode" });

/** A queued job of 1 s past 1970, but for the given fields. */
export function aJob(fields: Partial<Job> = {}): Job {
  return {
    row: 1,
    id: "kq3v9m2x7p4w8t6r5n1h0j9g8f",
    owner: "ada",
    operation: "transcode",
    policy,
    input: "{}",
    upload: null,
    trace: null,
    status: "queued",
    revision: 1,
    attempt: 0,
    failures: 0,
    crashes: 0,
    turn: 0,
    createdAt: 1_000,
    dueAt: 1_000,
    startBy: null,
    startedAt: null,
    updatedAt: 1_000,
    finishedAt: null,
    expiresAt: null,
    goneAt: null,
    cancelRequestedAt: null,
    worker: null,
    leaseUntil: null,
    progress: null,
    message: null,
    checkpoint: null,
    result: null,
    files: [],
    problem: null,
    ...fields,
  };
}

/** Such a job as its owner sees it. */
export function aView(job: Partial<Job> = {}, more: Partial<View> = {}): View {
  return {
    job: aJob(job),
    position: null,
    waitingFor: null,
    completionAt: null,
    retryAfterSeconds: null,
    ...more,
  };
}
