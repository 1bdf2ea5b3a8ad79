// One change of a job as the script takes it: what it was decided on, what it becomes, and where its row moves in the indexes.

import { isSettled, type Job } from "../../core/job.ts";
import { isDue, type Moment } from "../../core/machine.ts";
import { TOMBSTONE_MS } from "../embedded/roster.ts";
import { keyEndsAt } from "../key.ts";
import type { StoredJob } from "../store.ts";
import { encodeHappening, encodeState, type Happening, memberOf, type Names } from "./codec.ts";
import type { Found } from "./look.ts";

/** Where a row stands: queued, processing, ended, gone. */
type Place = "q" | "p" | "e" | "g";

export interface Change {
  readonly before: Found;
  /** Null removes it; the same job only puts it back to wait, for the clock was set back. */
  readonly after: Job | null;
  readonly token: string;
  readonly events: readonly Happening[];
}

/** Arguments of one change: `encodeChange`'s. */
export const CHANGE = 7;

/** Operation, owner and priority, which many changes have in common. */
export function groupOf({ before }: Change): string {
  const { operation, owner, policy } = before.stored.job;
  return JSON.stringify([operation, owner, String(policy.priority)]);
}

export function encodeChange(change: Change, group: number, names: Names, moment: Moment): string[] {
  const { stored, token } = change.before;
  const { job } = stored;
  const { after, events } = change;
  const waits = after === job;
  const to = waits ? "w" : after === null ? "x" : placeOf(after);
  const hasStart = job.startBy !== null && job.attempt === 0;
  return [
    // Cut by its columns: row 13, token 16, from, to, whether a start deadline is looked at; then group and count.
    `${memberOf(job.row)}${token}${placeOf(job)}${to}${hasStart ? 1 : 0}${group},${events.length}`,
    waits || after === null ? "" : encodeState(after, change.token, keepsCheckpoint(change)),
    after === null ? stored.address : checkpointOf(change, after),
    String(job.turn),
    timeOf(waits ? job.dueAt : null, after, moment),
    events.map((event) => `[${event.row},${encodeHappening(event, names)}`).join(","),
    keyOf(stored, to),
  ];
}

/** Whether there is a checkpoint afterwards. */
export function keepsCheckpoint({ before, after }: Change): boolean {
  if (after === null || isSettled(after.status)) return false;
  return before.hasCheckpoint || after.checkpoint !== null;
}

function placeOf(job: Job): Place {
  if (job.goneAt !== null) return "g";
  return isSettled(job.status) ? "e" : job.status === "queued" ? "q" : "p";
}

function checkpointOf({ before }: Change, after: Job): string {
  if (isSettled(after.status)) return before.hasCheckpoint ? "-" : "";
  // A slim reading has none, and then it is only ever set anew.
  const isSame = after.checkpoint === before.stored.job.checkpoint || after.checkpoint === null;
  return isSame ? "" : `+${after.checkpoint}`;
}

/** When somebody has to look at the row again; empty where it stands in line. */
function timeOf(dueAt: number | null, after: Job | null, { now }: Moment): string {
  if (dueAt !== null) return String(dueAt);
  if (after === null) return "";
  if (after.goneAt !== null) return String(after.goneAt + TOMBSTONE_MS);
  if (isSettled(after.status)) return String(after.expiresAt);
  if (after.status === "processing") return String(lookAt(after));
  return isDue(after, now) ? "" : String(after.dueAt);
}

/** When a running job may have to be taken from its worker: its lease, its time, or its grace after a cancel is over. */
export function lookAt({ leaseUntil, startedAt, cancelRequestedAt, policy }: Job): number {
  return Math.min(
    leaseUntil ?? 0,
    (startedAt ?? 0) + policy.timeoutMs + policy.graceMs,
    cancelRequestedAt === null ? Number.POSITIVE_INFINITY : cancelRequestedAt + policy.graceMs,
  );
}

/** Where a row that is taken over from another store belongs. */
export function indexesOf(
  stored: StoredJob,
  moment: Moment,
): {
  readonly place: Place;
  /** Of the line that it does not stand in yet, or of its lease. */
  readonly time: string;
  readonly ends: string;
  /** The key that names it from now on, and until when. */
  readonly key: string;
} {
  const { job, key, reach } = stored;
  const place = placeOf(job);
  const time = timeOf(null, job, moment);
  const isOver = place === "e" || place === "g";
  const startBy = place === "q" && job.attempt === 0 ? (job.startBy ?? "") : "";
  const until = place === "g" ? keyEndsAt(job) : "";
  const names = key !== null && (reach === "life" || !isOver);
  return {
    place,
    time: isOver ? "" : time,
    ends: isOver ? time : String(startBy),
    key: names ? `${reach} ${key} ${until}` : "",
  };
}

// What becomes of the key that names the job: content is the same only while its job lives, an idempotency key outlives it.
function keyOf({ job, key, reach }: StoredJob, to: Place | "w" | "x"): string {
  if (key === null || reach === null) return "";
  if (reach === "live") return to === "e" || to === "x" ? `live ${key} ` : "";
  if (to === "x") return `life ${key} `;
  if (to !== "g") return "";
  return `life ${key} ${keyEndsAt(job)}`;
}
