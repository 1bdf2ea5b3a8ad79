// The store's suite: what is kept is told whole, and another store takes it over.

import { expect } from "vitest";
import type { Event } from "../../core/event.ts";
import type { Job } from "../../core/job.ts";
import type { RestoreWrite, Store, StoredJob } from "../../store/store.ts";
import { type Case, COMPLETED, DAY_MS, type Desk, FAILED, HOUR_MS, refusalOf } from "./desk.ts";

/** All that a store keeps, read a few rows at a time. */
async function takenFrom(store: Store): Promise<RestoreWrite> {
  const jobs: StoredJob[] = [];
  for (let afterRow = 0; ; ) {
    const part = await store.read({ get: "stored", afterRow, limit: 4 });
    jobs.push(...part);
    const last = part.at(-1);
    if (last === undefined) break;
    afterRow = last.job.row;
  }
  const events = await store.read({ get: "events", after: 0, limit: 10_000 });
  const [secret, durations, paused, kept] = await Promise.all([
    store.read({ get: "secret" }),
    store.read({ get: "durations" }),
    store.read({ get: "paused" }),
    store.read({ get: "kept", prefix: "" }),
  ]);
  return { do: "restore", jobs, events, facts: { secret, durations, paused, kept } };
}

/** Jobs in every state that there is. */
async function furnish(desk: Desk): Promise<Job[]> {
  const { operation } = desk;
  const jobs = [await desk.done({ key: "done" }), await desk.done({}, { ...FAILED, final: true })];
  jobs.push(await desk.done({ operation: "gone", key: "gone", policy: { retentionMs: 1000 } }));
  desk.clock.pass(2000);
  await desk.sweep();
  jobs.push(await desk.job({ key: "k", input: `"${"x".repeat(5000)}"` }), await desk.job({ reach: "live" }));
  jobs.push(await desk.job({ id: `made-${desk.owner}`, idFromCaller: true }));
  jobs.push(await desk.job({ delayMs: HOUR_MS }), await desk.job({ startWithinMs: HOUR_MS }));
  jobs.push(
    ...(await desk.jobs(4, { owner: "many" })),
    await desk.job({ owner: "heavy", policy: { weight: 3 } }),
  );
  jobs.push(await desk.job({ policy: { priority: 4 } }));
  const running = await desk.job({ operation: "running", policy: { isolated: true } });
  await desk.beat(await desk.attempt({ operation: "running" }), { progress: 5, checkpoint: '{"at":1}' });
  const retried = await desk.job({ operation: "retried" });
  await desk.settle(await desk.attempt({ operation: "retried" }), { ...FAILED, retryAfterMs: 60_000 });
  const canceled = await desk.job();
  await desk.cancel(canceled);
  await desk.write({ do: "pause", operation: "held", paused: true });
  await desk.write({ do: "learn", operation, durations: { at: desk.now, buckets: [10, 1] } });
  await desk.write({ do: "keep", name: "note/a", value: "kept" });
  return [...jobs, running, retried, canceled];
}

/** Restores into an empty store, and gives a desk at it. */
async function moved(desk: Desk, run: (other: Desk, taken: RestoreWrite) => Promise<void>): Promise<void> {
  const taken = await takenFrom(desk.store);
  const { desk: other, close } = await desk.empty();
  try {
    expect(await other.write(taken)).toEqual({ did: "nothing" });
    await run(other, taken);
  } finally {
    await close();
  }
}

export const moving: readonly Case[] = [
  {
    title: "all that is stored is told in the order of its rows, with what it is found by, tombstones too",
    alone: true,
    async run(desk) {
      const jobs = await furnish(desk);
      const { jobs: stored } = await takenFrom(desk.store);
      expect(stored.map(({ job }) => job.row)).toEqual(jobs.map(({ row }) => row).sort((a, b) => a - b));
      for (const { job } of stored) expect(await desk.get(job)).toEqual(job);
      const keyed = desk.submitting({ key: "k", input: `"${"x".repeat(5000)}"` });
      expect(stored.find(({ key }) => key === keyed.sameness?.key)).toMatchObject({
        fingerprint: keyed.sameness?.fingerprint,
        reach: "life",
        idFingerprint: null,
      });
      expect(stored.filter(({ job }) => job.goneAt !== null)).toHaveLength(1);
      expect(stored.filter(({ idFingerprint }) => idFingerprint !== null)).toHaveLength(1);
    },
  },
  {
    title:
      "a restored store answers as the one it was taken from: jobs, places in the line, events and facts",
    alone: true,
    async run(desk) {
      const jobs = await furnish(desk);
      const before = await Promise.all(jobs.map((job) => desk.see(job)));
      await moved(desk, async (other, taken) => {
        const after = await Promise.all(jobs.map((job) => other.see(job)));
        // That a worker was seen is not kept: whoever opens the store has to see one first.
        const seen = (sights: typeof before) => sights.map((sight) => ({ ...sight, waitingFor: undefined }));
        expect(seen(after)).toEqual(seen(before));
        expect(await takenFrom(other.store)).toEqual(taken);
        for (const owner of [desk.owner, "many", "new"]) {
          const { operation } = desk;
          const outlook = { get: "outlook", owner, operation, priority: 0, weight: 1 } as const;
          const { active, waiting } = await desk.store.read(outlook);
          expect(await other.store.read(outlook)).toMatchObject({ active, waiting });
        }
        const lists = await Promise.all(
          [desk, other].map(({ store }) =>
            store.read({ get: "list", filter: { owner: desk.owner, limit: 99 } }),
          ),
        );
        expect(lists[1]?.sights.map(({ job }) => job)).toEqual(lists[0]?.sights.map(({ job }) => job));
      });
    },
  },
  {
    title: "B1, D4: a restored store knows the keys and the quotas of the one it was taken from",
    alone: true,
    async run(desk) {
      const jobs = await furnish(desk);
      await moved(desk, async (other) => {
        // The same callers come to the other store.
        const asked = { owner: desk.owner, operation: desk.operation };
        const repeat = await other.accept({ ...asked, key: "k", input: `"${"x".repeat(5000)}"` });
        expect([repeat.replayed, repeat.job.row]).toEqual([true, jobs[3]?.row]);
        expect(refusalOf(await other.submit({ ...asked, key: "k", input: "2" }))).toBe("key-reused");
        expect((await other.accept({ ...asked, reach: "live" })).job.row).toBe(jobs[4]?.row);
        expect((await other.accept({ ...asked, operation: "gone", key: "gone" })).job.row).toBe(jobs[2]?.row);
        const made = { ...asked, id: `made-${desk.owner}`, idFromCaller: true };
        expect((await other.accept(made)).job.row).toBe(jobs[5]?.row);
        expect(refusalOf(await other.submit({ ...asked, owner: "many", limits: { active: 4 } }))).toBe(
          "over-quota",
        );
        await other.accept({ ...asked, owner: "many", limits: { active: 5 } });
      });
    },
  },
  {
    title: "a restored store goes on: claims in turn, settles and rescues, ends, and the next row and event",
    alone: true,
    async run(desk) {
      const jobs = await furnish(desk);
      const line = jobs.filter(({ operation }) => operation === desk.operation);
      await moved(desk, async (other, taken) => {
        const last = taken.events.at(-1) as Event;
        const fresh = await other.job({ owner: "new", operation: "new" });
        expect(fresh.row).toBeGreaterThan(Math.max(...jobs.map(({ row }) => row)));
        expect(other.heard.at(-1)?.seq).toBe(last.seq + 1);
        const places = new Map<number, number>();
        for (const job of line) {
          const position = (await other.see(job))?.position ?? null;
          if (position !== null) places.set(position, job.row);
        }
        const claimed = await other.claim({ operation: desk.operation });
        expect(claimed.jobs.map(({ row }) => row)).toEqual(
          claimed.jobs.map((_, index) => places.get(index + 1)),
        );
        expect(claimed.jobs.length).toBe(places.size);
        for (const job of claimed.jobs)
          expect(await other.settle(job)).toMatchObject({ status: "completed" });
        const running = await other.get(jobs.find(({ operation }) => operation === "running") as Job);
        expect(await other.settle({ ...running, attempt: 9 })).toEqual({ refused: "lease-lost" });
        other.clock.pass(running.policy.leaseMs);
        await other.sweep();
        expect(await other.get(running)).toMatchObject({
          status: "queued",
          crashes: 1,
          checkpoint: '{"at":1}',
        });
        other.clock.pass(HOUR_MS + 60_000);
        const retried = await other.attempt({ operation: "retried" });
        expect(retried.attempt).toBe(2);
        expect(await other.settle(retried, COMPLETED)).toMatchObject({ status: "completed" });
        await other.job({ operation: "held" });
        expect((await other.claim({ operation: "held" })).jobs).toEqual([]);
        other.clock.pass(2 * DAY_MS);
        await other.sweep();
        expect((await other.get(jobs[0] as Job)).goneAt).not.toBeNull();
      });
    },
  },
  {
    title: "restoring the same again changes nothing",
    alone: true,
    async run(desk) {
      await furnish(desk);
      await moved(desk, async (other, taken) => {
        const counts = await other.store.read({ get: "counts" });
        for (let round = 0; round < 2; round++) expect(await other.write(taken)).toEqual({ did: "nothing" });
        expect(await takenFrom(other.store)).toEqual(taken);
        expect(await other.store.read({ get: "counts" })).toEqual(counts);
      });
    },
  },
  {
    title: "a move that was interrupted goes on, whatever part of it was taken over before",
    alone: true,
    async run(desk) {
      await furnish(desk);
      const taken = await takenFrom(desk.store);
      const { facts: _, ...rest } = taken;
      const { desk: other, close } = await desk.empty();
      const part = (jobs: number, events: number) =>
        other.write({ ...rest, jobs: taken.jobs.slice(0, jobs), events: taken.events.slice(0, events) });
      try {
        for (const [jobs, events] of [
          [3, 0],
          [3, 0],
          [7, 5],
          [99, 5],
        ] as const)
          expect(await part(jobs, events)).toEqual({ did: "nothing" });
        // It begins anew, in parts that overlap what is there.
        const from = { ...taken, jobs: taken.jobs.slice(2), events: taken.events.slice(3) };
        expect(await other.write(from)).toEqual({ did: "nothing" });
        expect(await takenFrom(other.store)).toEqual(taken);
      } finally {
        await close();
      }
    },
  },
  {
    title: "what would be restored beside other rows or events is refused as not empty, with no effect",
    alone: true,
    async run(desk) {
      await furnish(desk);
      const taken = await takenFrom(desk.store);
      const { desk: other, close } = await desk.empty();
      try {
        const job = await other.job();
        const before = await takenFrom(other.store);
        const { facts: _, ...rest } = taken;
        for (const write of [taken, { ...rest, events: [] }, { ...rest, jobs: [] }])
          expect(refusalOf(await other.write(write))).toBe("not-empty");
        expect(await other.get(job)).toEqual(job);
        expect(await takenFrom(other.store)).toEqual(before);
      } finally {
        await close();
      }
    },
  },
];
