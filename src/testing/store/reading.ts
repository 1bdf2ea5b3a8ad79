// The store's suite: listings, places, reasons to wait, counts, and the feed.

import { expect } from "vitest";
import type { Job } from "../../core/job.ts";
import type { ListFilter } from "../../store/store.ts";
import { addressOf, type Case, COMPLETED, type Desk, FAILED, HOUR_MS } from "./desk.ts";

async function rowsOf(desk: Desk, filter: Partial<ListFilter> = {}): Promise<number[]> {
  const { sights } = await desk.store.read({
    get: "list",
    filter: { owner: desk.owner, limit: 100, ...filter },
  });
  return sights.map(({ job }) => job.row);
}

const rows = (jobs: readonly Job[]) => jobs.map(({ row }) => row);

export const reading: readonly Case[] = [
  {
    title: "a listing gives the owner's jobs, newest first, page by page",
    async run(desk) {
      const jobs = await desk.jobs(7);
      await desk.job({ owner: "another" });
      const pages: number[][] = [];
      for (let belowRow: number | undefined; ; ) {
        const filter = { owner: desk.owner, limit: 3, ...(belowRow === undefined ? {} : { belowRow }) };
        const { sights, nextRow } = await desk.store.read({ get: "list", filter });
        pages.push(sights.map(({ job }) => job.row));
        if (nextRow === null) break;
        belowRow = nextRow;
      }
      expect(pages.map(({ length }) => length)).toEqual([3, 3, 1]);
      expect(pages.flat()).toEqual(rows(jobs).reverse());
    },
  },
  {
    title: "a listing that ends with a full page says that it ends",
    async run(desk) {
      await desk.jobs(3);
      const filter = { owner: desk.owner, limit: 3 };
      expect((await desk.store.read({ get: "list", filter })).nextRow).toBeNull();
      const none = { owner: `${desk.owner} nobody`, limit: 3 };
      expect(await desk.store.read({ get: "list", filter: none })).toEqual({ sights: [], nextRow: null });
    },
  },
  {
    title: "pages neither repeat nor miss a job while new ones come and old ones change",
    async run(desk) {
      const jobs = await desk.jobs(20);
      const seen: number[] = [];
      for (let belowRow: number | undefined; ; ) {
        const filter = { owner: desk.owner, limit: 4, ...(belowRow === undefined ? {} : { belowRow }) };
        const { sights, nextRow } = await desk.store.read({ get: "list", filter });
        seen.push(...sights.map(({ job }) => job.row));
        await desk.jobs(2);
        await desk.settle(await desk.attempt());
        if (nextRow === null) break;
        belowRow = nextRow;
      }
      expect(seen).toEqual(rows(jobs).reverse());
    },
  },
  {
    title: "a listing can be narrowed by status, operation and time, in any combination",
    async run(desk) {
      const other = `${desk.operation}-b`;
      const done = await desk.done();
      desk.clock.pass(1000);
      const queued = await desk.job();
      desk.clock.pass(1000);
      const elsewhere = await desk.job({ operation: other });
      expect(await rowsOf(desk, { status: ["completed"] })).toEqual([done.row]);
      expect(await rowsOf(desk, { status: ["queued", "failed"] })).toEqual(rows([elsewhere, queued]));
      expect(await rowsOf(desk, { operation: [other] })).toEqual([elsewhere.row]);
      expect(await rowsOf(desk, { operation: [other, desk.operation], status: ["queued"] })).toEqual(
        rows([elsewhere, queued]),
      );
      // From is included, to is not.
      expect(await rowsOf(desk, { createdFrom: queued.createdAt })).toEqual(rows([elsewhere, queued]));
      expect(await rowsOf(desk, { createdTo: queued.createdAt })).toEqual([done.row]);
      expect(await rowsOf(desk, { createdFrom: queued.createdAt, createdTo: elsewhere.createdAt })).toEqual([
        queued.row,
      ]);
    },
  },
  {
    title: "a listing shows each job as it is read by itself",
    async run(desk) {
      await desk.jobs(3);
      await desk.attempt();
      const { sights } = await desk.store.read({ get: "list", filter: { owner: desk.owner, limit: 9 } });
      for (const sight of sights) expect(sight).toEqual(await desk.see(sight.job));
    },
  },
  {
    title: "a position is the exact place among those that wait, at every moment",
    async run(desk) {
      const given = [
        { owner: "a" },
        { owner: "a" },
        { owner: "b", policy: { weight: 2 } },
        { owner: "a", policy: { priority: 1 } },
        { owner: "c" },
        { owner: "b", policy: { weight: 2 } },
        { owner: "a" },
      ];
      const jobs = [];
      for (const asked of [...given, ...given, ...given]) {
        const { job, position } = await desk.accept(asked);
        jobs.push(job);
        expect(position).toBe((await desk.see(job))?.position);
      }
      await desk.cancel(jobs[8] as Job);
      const waiting = new Map<number, number>();
      for (const job of jobs) {
        const sight = await desk.see(job);
        if (sight?.position != null) waiting.set(job.row, sight.position);
      }
      expect([...waiting.values()].sort((a, b) => a - b)).toEqual(
        Array.from({ length: jobs.length - 1 }, (_, index) => index + 1),
      );
      for (let taken = 1; waiting.size > 0; taken++) {
        const { row } = await desk.attempt();
        expect(waiting.get(row)).toBe(taken);
        waiting.delete(row);
        for (const [other, place] of waiting) {
          const job = jobs.find((one) => one.row === other) as Job;
          expect((await desk.see(job))?.position).toBe(place - taken);
        }
      }
    },
  },
  {
    title: "what does not stand in line has no position",
    async run(desk) {
      const delayed = await desk.accept({ delayMs: 60_000 });
      expect(delayed.position).toBeNull();
      const retried = await desk.job();
      await desk.settle(await desk.attempt(), FAILED);
      const done = await desk.done();
      for (const job of [delayed.job, retried, done]) {
        expect((await desk.see(job))?.position).toBeNull();
      }
    },
  },
  {
    title: "why a job waits is said: no worker, turn, delay, retry, quota or a pause",
    async run(desk) {
      const limited = { policy: { running: 1 }, owner: "limited" };
      const reason = async (job: Job) => (await desk.see(job))?.waitingFor;
      const first = await desk.accept(limited);
      expect(first.waitingFor).toBe("no-worker");
      const retried = await desk.attempt();
      await desk.settle(retried, FAILED);
      expect(await reason(first.job)).toBe("retry");
      desk.clock.pass(1000);
      const running = await desk.attempt();
      expect(await reason(first.job)).toBeNull();
      const parked = await desk.job(limited);
      const delayed = await desk.accept({ delayMs: 60_000 });
      expect(delayed.waitingFor).toBe("delay");
      expect(await desk.claim()).toMatchObject({ jobs: [] });
      expect(await reason(parked)).toBe("quota");
      const queued = await desk.job();
      expect(await reason(queued)).toBe("turn");
      await desk.write({ do: "pause", operation: desk.operation, paused: true });
      expect([await reason(queued), await reason(parked)]).toEqual(["paused", "paused"]);
      await desk.write({ do: "pause", operation: desk.operation, paused: false });
      await desk.settle(running);
      desk.clock.pass(HOUR_MS);
      expect(await reason(queued)).toBe("no-worker");
    },
  },
  {
    title: "an outlook tells the place that the next submit gets, and what its owner has",
    async run(desk) {
      await desk.jobs(20, { owner: "many" });
      await desk.jobs(2);
      await desk.job({ policy: { priority: 3 } });
      const { operation, owner } = desk;
      for (const asking of [owner, "many", "new"]) {
        const outlook = { get: "outlook", owner: asking, operation, priority: 0, weight: 1 } as const;
        const { position, active, waiting } = await desk.store.read(outlook);
        const accepted = await desk.accept({ owner: asking });
        expect(accepted.position).toBe(position);
        const after = await desk.store.read(outlook);
        expect([after.active, after.waiting]).toEqual([active + 1, waiting + 1]);
      }
    },
  },
  {
    title: "counts tell what waits and what runs of each operation, and how many jobs there are",
    alone: true,
    async run(desk) {
      await desk.jobs(3);
      await desk.job({ operation: "other", delayMs: 60_000 });
      await desk.claim({ limit: 2 });
      const counts = await desk.store.read({ get: "counts" });
      expect(counts.jobs).toBe(4);
      expect(counts.operations[desk.operation]).toEqual({ queued: 1, processing: 2 });
      expect(counts.operations.other).toEqual({ queued: 1, processing: 0 });
    },
  },
  {
    title: "rows are read in the order asked for, without those that are not there",
    async run(desk) {
      const [a, b] = await desk.jobs(2);
      if (a === undefined || b === undefined) throw new Error("There were no jobs.");
      const sights = await desk.store.read({ get: "rows", rows: [b.row, b.row + 1_000_000, a.row] });
      expect(sights.map(({ job }) => job)).toEqual([b, a]);
    },
  },
  {
    title: "the feed is gapless and in order, and what was heard is what is read",
    alone: true,
    async run(desk) {
      await desk.spread();
      const jobs = await desk.jobs(30);
      const { jobs: attempts } = await desk.claim({ limit: 20 });
      await Promise.all(
        attempts.map((attempt, index) =>
          index % 3 === 0 ? desk.settle(attempt, FAILED) : desk.beat(attempt, { progress: index }),
        ),
      );
      await Promise.all(jobs.slice(15).map((job) => desk.cancel(job)));
      desk.clock.pass(60_000);
      await desk.sweep();
      await desk.job();
      const events = await desk.store.read({ get: "events", after: 0, limit: 1000 });
      expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
      await desk.hearAll();
      expect(desk.heard).toEqual(events);
      for (const job of jobs) {
        const revisions = desk.eventsOf(job).map(({ revision }) => revision);
        expect(revisions).toEqual([...revisions].sort((a, b) => a - b));
        expect(desk.eventsOf(job)[0]?.kind).toBe("queued");
      }
    },
  },
  {
    title: "the feed is the same for all who listen, however many write at once",
    alone: true,
    async run(desk) {
      await desk.spread();
      const heard = desk.instances.map(() => [] as number[]);
      const stops = desk.instances.map((store, index) =>
        store.listen((events) => heard[index]?.push(...events.map(({ seq }) => seq))),
      );
      await Promise.all(
        Array.from({ length: 40 }, async (_, index) => {
          const job = await desk.job({ operation: `${desk.operation}-${index % 4}` });
          const { jobs } = await desk.claim({ operation: job.operation, limit: 2, worker: `w${index}` });
          await Promise.all(jobs.map((one) => (index % 2 === 0 ? desk.settle(one) : desk.cancel(one))));
        }),
      );
      const events = await desk.store.read({ get: "events", after: 0, limit: 1000 });
      const seqs = events.map((_, index) => index + 1);
      expect(events.length).toBeGreaterThanOrEqual(120);
      expect(events.map(({ seq }) => seq)).toEqual(seqs);
      for (const some of heard) await desk.until(() => expect(some).toEqual(seqs));
      for (const stop of stops) stop();
    },
  },
  {
    title: "A5: what one instance of a store has accepted or changed, every other reads at once",
    async run(desk) {
      await desk.spread();
      for (let round = 0; round < 6; round++) {
        const job = await desk.job();
        for (const store of desk.instances) {
          const address = addressOf(job.owner, job.id);
          expect((await store.read({ get: "job", address }))?.job).toEqual(job);
        }
        const attempt = await desk.attempt();
        await desk.settle(attempt);
        for (const store of desk.instances) {
          const [sight] = await store.read({ get: "rows", rows: [job.row] });
          expect(sight?.job.status).toBe("completed");
        }
      }
    },
  },
  {
    title: "operations that are held back are told",
    async run(desk) {
      const names = [desk.operation, "constructor"];
      for (const operation of names) await desk.write({ do: "pause", operation, paused: true });
      expect(await desk.store.read({ get: "paused" })).toEqual(expect.arrayContaining(names));
      for (const operation of names) await desk.write({ do: "pause", operation, paused: false });
      const paused = await desk.store.read({ get: "paused" });
      for (const operation of names) expect(paused).not.toContain(operation);
    },
  },
  {
    title: "the feed can be read from any point, a part at a time",
    async run(desk) {
      const from = desk.heard.at(-1)?.seq ?? 0;
      await desk.jobs(10);
      await Promise.all((await desk.claim()).jobs.map((job) => desk.settle(job)));
      const all = await desk.store.read({ get: "events", after: from, limit: 1000 });
      const parts = [];
      for (let after = from; ; ) {
        const part = await desk.store.read({ get: "events", after, limit: 4 });
        if (part.length === 0) break;
        expect(part.length).toBeLessThanOrEqual(4);
        parts.push(...part);
        after = part.at(-1)?.seq ?? after;
      }
      expect(parts).toEqual(all);
      expect(await desk.store.read({ get: "events", after: all.at(-1)?.seq ?? 0, limit: 9 })).toEqual([]);
    },
  },
  {
    title: "the events of a life name what happened, with the job's status, attempt and revision then",
    async run(desk) {
      const job = await desk.job();
      await desk.settle(await desk.attempt(), FAILED);
      desk.clock.pass(1000);
      const attempt = await desk.attempt();
      await desk.beat(attempt, { progress: 5 });
      await desk.cancel(job);
      await desk.settle(attempt, COMPLETED);
      const { id, owner, operation, row } = job;
      for (const event of desk.eventsOf(job)) expect(event).toMatchObject({ id, owner, operation, row });
      expect(
        desk.eventsOf(job).map(({ kind, status, attempt: n, revision }) => [kind, status, n, revision]),
      ).toEqual([
        ["queued", "queued", 0, 1],
        ["started", "processing", 1, 2],
        ["retrying", "queued", 1, 3],
        ["started", "processing", 2, 4],
        ["progress", "processing", 2, 5],
        ["cancel-requested", "processing", 2, 6],
        ["completed", "completed", 2, 7],
      ]);
    },
  },
  {
    title: "E3: once an event is heard, a read shows what it tells",
    async run(desk) {
      const seen: Promise<void>[] = [];
      const stop = desk.store.listen((events) => {
        for (const event of events) {
          if (event.owner !== desk.owner) continue;
          const address = addressOf(event.owner, event.id);
          seen.push(
            desk.store.read({ get: "job", address }).then((sight) => {
              expect(sight?.job.revision).toBeGreaterThanOrEqual(event.revision);
            }),
          );
        }
      });
      await desk.jobs(5);
      for (const job of (await desk.claim()).jobs) await desk.settle(job);
      stop();
      await Promise.all(seen);
      expect(seen.length).toBe(15);
    },
  },
  {
    title: "who has stopped listening hears no more",
    async run(desk) {
      let heard = 0;
      const stop = desk.store.listen(() => heard++);
      await desk.job();
      expect(heard).toBeGreaterThan(0);
      stop();
      const before = heard;
      await desk.job();
      expect(heard).toBe(before);
    },
  },
  {
    title: "which addresses may have files is told: those of jobs that are there and not gone",
    async run(desk) {
      const done = await desk.done({ policy: { retentionMs: 1000 } });
      desk.clock.pass(60_000);
      await desk.sweep();
      const queued = await desk.job();
      const addresses = [queued, done, { ...done, id: "never" }].map((job) => addressOf(job.owner, job.id));
      expect(await desk.store.read({ get: "alive", addresses })).toEqual([true, false, false]);
    },
  },
  {
    title: "durations that many learn apart are merged, whatever the operation is called",
    async run(desk) {
      for (const operation of [desk.operation, "constructor", "to-string"]) {
        const before = (await desk.store.read({ get: "durations" }))[operation];
        expect(Object.hasOwn(await desk.store.read({ get: "durations" }), operation)).toBe(false);
        void before;
        await desk.write({ do: "learn", operation, durations: { at: desk.now, buckets: [10, 1, 20, 2] } });
        await desk.write({ do: "learn", operation, durations: { at: desk.now, buckets: [20, 1, 30, 4] } });
        const learned = (await desk.store.read({ get: "durations" }))[operation];
        expect(learned?.buckets.filter((_, index) => index % 2 === 0)).toEqual([10, 20, 30]);
        expect(learned?.buckets[3]).toBeCloseTo(3, 1);
      }
    },
  },
];
