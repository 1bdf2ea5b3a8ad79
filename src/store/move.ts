// Moving: everything that one store keeps goes to another, under the same ids, keys and sequences, so URLs stay valid.
//
// Events go first: the sequence of the last one says what state of the source is moved. Then the jobs, in the order of
// their rows; then the store's own facts. What is there already is left alone, so an interrupted move goes on.

import type { Event } from "../core/event.ts";
import type { Store, StoredJob } from "./store.ts";

/** How much is read and written at once. */
const PAGE = 500;

export interface MoveOptions {
  /** Told after each part: how many jobs are there by now, of how many. */
  readonly onProgress?: (moved: number, jobs: number) => void;
  /** Default `Date.now`: leases of the source that are not over by then are held by someone. */
  readonly now?: () => number;
}

/** Why nothing (more) was moved: one sentence, what is wrong and what to do. */
export class MoveRefused extends Error {
  override readonly name = "MoveRefused";
}

/**
 * Carries jobs, keys, results, history and what was learned from one store to another that is empty, or that an earlier
 * move of the same source began to fill. Neither may be written by anyone else meanwhile.
 * @throws MoveRefused
 */
export async function moveStore(
  from: Store,
  to: Store,
  { onProgress = () => {}, now = Date.now }: MoveOptions = {},
): Promise<{ readonly jobs: number }> {
  const { jobs } = await from.read({ get: "counts" });
  let afterRow = await lastRow(to);
  await refuseOthers(from, to, afterRow);
  const lastSeq = await moveEvents(from, to);
  let moved = (await to.read({ get: "counts" })).jobs;
  for (;;) {
    onProgress(moved, jobs);
    const page = await from.read({ get: "stored", afterRow, limit: PAGE });
    if (page.length === 0) break;
    refuseHeld(page, now());
    await restore(to, page, []);
    afterRow = page.at(-1)?.job.row ?? afterRow;
    moved += page.length;
  }
  if ((await from.read({ get: "events", after: lastSeq, limit: 1 })).length > 0)
    throw new MoveRefused(
      "The source was written meanwhile: stop its servers and workers, empty the destination, and begin anew.",
    );
  const [secret, durations, paused, kept] = await Promise.all([
    from.read({ get: "secret" }),
    from.read({ get: "durations" }),
    from.read({ get: "paused" }),
    from.read({ get: "kept", prefix: "" }),
  ]);
  await to.write({ do: "restore", jobs: [], events: [], facts: { secret, durations, paused, kept } });
  return { jobs: moved };
}

// What is there already must have come from here: the last row tells, for rows are moved in their order.
async function refuseOthers(from: Store, to: Store, row: number): Promise<void> {
  if (row === 0) return;
  const last = { get: "stored", afterRow: row - 1, limit: 1 } as const;
  const [[ours], [theirs]] = await Promise.all([from.read(last), to.read(last)]);
  // One that was purged here since can't be compared, and can't be had anew either.
  if (ours?.address !== theirs?.address) throw new MoveRefused(NOT_EMPTY);
}

const NOT_EMPTY = "The destination has jobs of its own: a store can only be moved into an empty one.";

// Resolves to the last sequence of the source.
async function moveEvents(from: Store, to: Store): Promise<number> {
  const [begun] = await to.read({ get: "events", after: 0, limit: 1 });
  const there = begun === undefined ? 0 : await lastEvent(to, begun);
  let after = there;
  for (;;) {
    const page = await from.read({ get: "events", after, limit: PAGE });
    if (page.length === 0) break;
    if (there > 0 && (await to.read({ get: "stored", afterRow: 0, limit: 1 })).length > 0)
      throw new MoveRefused(
        "The source was written after this move began: empty the destination, and begin anew with the source's servers and workers stopped.",
      );
    await restore(to, [], page);
    after = page.at(-1)?.seq ?? after;
  }
  return after;
}

async function lastEvent(store: Store, first: Event): Promise<number> {
  let last = first.seq;
  for (;;) {
    const page = await store.read({ get: "events", after: last, limit: PAGE });
    if (page.length === 0) return last;
    last = page.at(-1)?.seq ?? last;
  }
}

// By doubling and halving: there is no need to read a million rows to find where an interrupted move goes on.
async function lastRow(store: Store): Promise<number> {
  const isBeyond = async (row: number) =>
    (await store.read({ get: "stored", afterRow: row, limit: 1 })).length === 0;
  if (await isBeyond(0)) return 0;
  let low = 0;
  let high = 1;
  while (!(await isBeyond(high))) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (await isBeyond(middle)) high = middle;
    else low = middle;
  }
  return high;
}

function refuseHeld(page: readonly StoredJob[], now: number): void {
  const held = page.find(({ job }) => job.status === "processing" && (job.leaseUntil ?? 0) > now);
  if (held === undefined) return;
  throw new MoveRefused(
    `Job ${held.job.id} is being worked on: stop the source's workers, or wait until the leases of those that were killed are over, and run this again.`,
  );
}

async function restore(to: Store, jobs: readonly StoredJob[], events: readonly Event[]): Promise<void> {
  const written = await to.write({ do: "restore", jobs, events });
  if ("refused" in written)
    throw new MoveRefused(
      "The destination has jobs of its own: a store can only be moved into an empty one.",
    );
}
