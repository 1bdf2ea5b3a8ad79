// A job as it is seen: with its exact place in the line, and why it waits.

import type { Job } from "../../core/job.ts";
import { isDue } from "../../core/machine.ts";
import type { Sight, WaitingFor } from "../store.ts";
import { type Columns, decodeJob, SIGHT, STAND } from "./codec.ts";
import type { Policies } from "./policies.ts";
import { encodeName, list } from "./sql.ts";
import { COUNTED, placeBefore } from "./tally.ts";

/** Nobody has asked for work of an operation for this long: it has no worker. */
const WORKER_SILENT_MS = 60_000;

/**
 * `request r` and `job j` of rows that `where` names, each with its place and what is known of its operation. Requests are what is looked
 * for, and their jobs looked up: the other way round it might take all jobs of a status to find a few of an owner.
 */
export function sights(where: string, order = ""): string {
  return `SELECT ${SIGHT}, o.*,
      CASE WHEN j.stand = ${STAND.line} THEN 1 + ${placeBefore("j.operation", "j.priority", "j.turn", "j.row")}
        WHEN j.stand = ${STAND.suspects} THEN 1 + (SELECT count(*) FROM job l WHERE l.operation = j.operation
          AND l.stand = ${STAND.suspects} AND (l.turn, l.row) < (j.turn, j.row)) END AS place
    FROM request r CROSS JOIN LATERAL (SELECT * FROM job WHERE job.row = r.row OFFSET 0) j LEFT JOIN LATERAL (${aboutOperation("j.operation")}) o ON j.status = 0
    WHERE ${where} ${order}`;
}

/** What is known of operations by name, as SQL. */
export function operations(names: readonly string[]): string {
  return `SELECT n.operation, o.* FROM unnest(${list(names.map(encodeName), "text")}) AS n(operation),
    LATERAL (${aboutOperation("n.operation")}) o`;
}

function aboutOperation(operation: string): string {
  return `SELECT (SELECT at FROM seen WHERE seen.operation = ${operation}) AS seen_at,
    coalesce((SELECT sum(n) FROM tally t WHERE t.operation = ${operation} AND t.stand = ${COUNTED.processing}), 0)::bigint AS processing,
    EXISTS (SELECT FROM fact WHERE name = 'paused:' || ${operation}) AS is_paused`;
}

export interface Operation {
  readonly seen_at: number | null;
  readonly processing: number | null;
  readonly is_paused: boolean | null;
}

export type Seen = Columns & Operation & { readonly place: number | null };

export async function decodeSights(
  rows: readonly unknown[],
  policies: Policies,
  now: number,
): Promise<Sight[]> {
  const seen = rows as readonly Seen[];
  await policies.read(seen.map(({ policy }) => policy));
  return seen.map((one) => {
    const job = decodeJob(one, policies.policy(one.policy));
    return { job, position: one.place, waitingFor: waitingFor(job, one.stand, one, now) };
  });
}

export function waitingFor(job: Job, stand: number, about: Operation, now: number): WaitingFor | null {
  if (job.status !== "queued") return null;
  if (about.is_paused) return "paused";
  if (!isDue(job, now)) return job.attempt > 0 ? "retry" : "delay";
  // A worker whose slots are all taken asks for nothing, but it is there.
  const isSilent = about.seen_at === null || now - about.seen_at > WORKER_SILENT_MS;
  if (isSilent && (about.processing ?? 0) === 0) return "no-worker";
  return stand === STAND.parked ? "quota" : "turn";
}
