// The status document: a job as its owner reads it at the monitor, and the tag that tells two readings apart.

import type { View } from "../core/jobs.ts";
import { publishProblem } from "../core/problem.ts";
import { wellFormed } from "./disposition.ts";

/** The status document of a job: the body of the monitor, of a 202 and of a cancel. Instants are RFC 3339. */
export interface StatusDocument {
  readonly id: string;
  readonly operation: string;
  readonly status: string;
  /** 0 to 100. */
  readonly progress: number | null;
  readonly message: string | null;
  readonly position: number | null;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly createdAt: string;
  readonly dueAt: string;
  readonly startedAt: string | null;
  readonly updatedAt: string;
  readonly finishedAt: string | null;
  readonly expiresAt: string | null;
  readonly cancelRequestedAt: string | null;
  readonly estimatedCompletion: string | null;
  readonly waitingFor: string | null;
  readonly statusUrl: string;
  readonly resultUrl: string;
  /** Files of a completed job; empty otherwise. */
  readonly files: readonly FileDocument[];
  /** Why it failed; in a job that waits for a retry, why the last attempt did. */
  readonly error: object | null;
}

/** One file of a completed job. */
export interface FileDocument {
  readonly name: string;
  readonly type: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly url: string;
}

/** The absolute URL of a job's monitor. `base` is the public URL, without a slash at its end. */
export function monitorUrl(base: string, id: string): string {
  return `${base}/jobs/${id}`;
}

/** The absolute URL of a job's result. */
export function resultUrl(base: string, id: string): string {
  return `${base}/jobs/${id}/result`;
}

/** The status document as a value. */
export function statusDocument(view: View, base: string): StatusDocument {
  const { job } = view;
  const completed = job.status === "completed";
  const results = resultUrl(base, job.id);
  return {
    id: job.id,
    operation: job.operation,
    status: job.status,
    progress: job.progress,
    message: job.message,
    position: view.position,
    attempt: job.attempt,
    maxAttempts: job.policy.maxAttempts,
    createdAt: formatInstant(job.createdAt),
    dueAt: formatInstant(job.dueAt),
    startedAt: instantOrNull(job.startedAt),
    updatedAt: formatInstant(job.updatedAt),
    finishedAt: instantOrNull(job.finishedAt),
    expiresAt: instantOrNull(job.expiresAt),
    cancelRequestedAt: instantOrNull(job.cancelRequestedAt),
    estimatedCompletion: instantOrNull(view.completionAt),
    waitingFor: view.waitingFor,
    statusUrl: monitorUrl(base, job.id),
    resultUrl: results,
    files: !completed
      ? []
      : job.files.map(({ name, type, bytes, sha256 }) => ({
          name,
          type,
          bytes,
          sha256,
          url: `${results}/${encodeURIComponent(wellFormed(name))}`,
        })),
    error: errorOf(view, base),
  };
}

/**
 * The status document as JSON text: what `JSON.stringify(statusDocument(view, base))` gives, at a fifth of its cost,
 * because every 202 and every poll needs one.
 */
export function encodeStatus(view: View, base: string): string {
  const { job } = view;
  if (job.status === "completed" && job.files.length > 0) return JSON.stringify(statusDocument(view, base));
  const error = errorOf(view, base);
  const url = monitorUrl(base, job.id);
  return (
    `{"id":${JSON.stringify(job.id)},"operation":${JSON.stringify(job.operation)},"status":"${job.status}",` +
    `"progress":${job.progress},"message":${job.message === null ? "null" : JSON.stringify(job.message)},` +
    `"position":${view.position},"attempt":${job.attempt},"maxAttempts":${job.policy.maxAttempts},` +
    `"createdAt":"${formatInstant(job.createdAt)}","dueAt":"${formatInstant(job.dueAt)}",` +
    `"startedAt":${quotedInstant(job.startedAt)},"updatedAt":"${formatInstant(job.updatedAt)}",` +
    `"finishedAt":${quotedInstant(job.finishedAt)},"expiresAt":${quotedInstant(job.expiresAt)},` +
    `"cancelRequestedAt":${quotedInstant(job.cancelRequestedAt)},` +
    `"estimatedCompletion":${quotedInstant(view.completionAt)},` +
    `"waitingFor":${view.waitingFor === null ? "null" : `"${view.waitingFor}"`},` +
    `"statusUrl":${JSON.stringify(url)},"resultUrl":${JSON.stringify(`${url}/result`)},"files":[],` +
    `"error":${error === null ? "null" : JSON.stringify(error)}}`
  );
}

/**
 * The entity tag of the status document. A settled job's is strong and never changes. A live job's place in the line
 * and the reason of its wait change without the job, so they are part of its tag; the estimate is not, which is why that tag
 * is weak (RFC 9110 §8.8.1).
 */
export function statusTag(view: View): string {
  const { job } = view;
  if (job.finishedAt !== null) return `"${job.revision}"`;
  if (view.waitingFor === null) return `W/"${job.revision}"`;
  return `W/"${job.revision}-${view.waitingFor}-${view.position ?? ""}"`;
}

/** RFC 3339 in UTC with milliseconds, as `Date.prototype.toISOString` writes it. */
export function formatInstant(ms: number): string {
  const second = Math.floor(ms / 1000);
  const slot = ((second % SLOTS) + SLOTS) % SLOTS;
  let text = written[slot] as string;
  if (seconds[slot] !== second) {
    text = new Date(second * 1000).toISOString().slice(0, -4);
    seconds[slot] = second;
    written[slot] = text;
  }
  const rest = Math.floor(ms) - second * 1000;
  return `${text}${rest > 99 ? rest : rest > 9 ? `0${rest}` : `00${rest}`}Z`;
}

// The instants of one moment's documents share their seconds, and a Date costs more than the rest of the document.
const SLOTS = 64;
const seconds = new Float64Array(SLOTS).fill(Number.NaN);
const written: string[] = new Array(SLOTS).fill("");

function instantOrNull(ms: number | null): string | null {
  return ms === null ? null : formatInstant(ms);
}

function quotedInstant(ms: number | null): string {
  return ms === null ? "null" : `"${formatInstant(ms)}"`;
}

function errorOf({ job }: View, base: string): object | null {
  if (job.problem === null || (job.status !== "failed" && job.status !== "queued")) return null;
  return publishProblem(job.problem, base);
}
