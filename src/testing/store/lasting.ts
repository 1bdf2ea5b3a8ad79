// The store's suite: deadlines, retention, and clocks that are set.

import { expect } from "vitest";
import { isSettled } from "../../core/job.ts";
import { addressOf, type Case, COMPLETED, DAY_MS, type Desk, FAILED, HOUR_MS, refusalOf } from "./desk.ts";

const TOMBSTONE_MS = 30 * DAY_MS;

/** What an operator or NTP may do to the wall clock. */
const STEPS = [DAY_MS, -DAY_MS] as const;

export const lasting: readonly Case[] = [
  {
    title: "a job that has not begun by its deadline fails, without a worker to see it",
    async run(desk) {
      const job = await desk.job({ startWithinMs: 60_000 });
      const begun = await desk.job({ startWithinMs: 60_000, operation: `${desk.operation}-b` });
      const attempt = await desk.attempt({ operation: begun.operation });
      desk.clock.pass(59_000);
      await desk.beat(attempt);
      await desk.sweep();
      expect((await desk.get(job)).status).toBe("queued");
      desk.clock.pass(1000);
      await desk.sweep();
      const failed = await desk.get(job);
      expect([failed.status, failed.attempt]).toEqual(["failed", 0]);
      expect(failed.problem?.type).toContain("deadline-exceeded");
      expect((await desk.get(begun)).status).toBe("processing");
    },
  },
  {
    title: "a job that began in time is not held to its start deadline again",
    async run(desk) {
      const job = await desk.job({ startWithinMs: 1000 });
      await desk.settle(await desk.attempt(), FAILED);
      desk.clock.pass(60_000);
      await desk.sweep();
      expect((await desk.attempt()).row).toBe(job.row);
    },
  },
  {
    title: "A1: an outcome is there, unchanged, until its retention ends",
    async run(desk) {
      const jobs = [await desk.done(), await desk.done({}, { ...FAILED, final: true })];
      const canceled = await desk.job();
      await desk.cancel(canceled);
      jobs.push(await desk.get(canceled));
      desk.clock.pass(HOUR_MS - 60_000);
      expect(await desk.sweep()).not.toContain(addressOf(desk.owner, canceled.id));
      for (const job of jobs) expect(await desk.get(job)).toEqual(job);
    },
  },
  {
    title: "what has expired is gone: emptied, its files given up, and the rest said for 30 days",
    async run(desk) {
      const upload = { name: "a", type: "text/plain", bytes: 1, sha256: "00", blob: "b" };
      const job = await desk.done({ upload, trace: "00-1-2-01", input: '"secret"' });
      desk.clock.pass(HOUR_MS + 1000);
      expect(await desk.sweep()).toContain(addressOf(desk.owner, job.id));
      const gone = await desk.get(job);
      expect(gone).toMatchObject({
        id: job.id,
        status: "completed",
        input: "null",
        upload: null,
        trace: null,
        result: null,
        files: [],
        problem: null,
      });
      expect(gone.goneAt).not.toBeNull();
      expect(JSON.stringify(gone)).not.toContain("secret");
      desk.clock.pass(TOMBSTONE_MS - HOUR_MS);
      await desk.sweep();
      expect(await desk.get(job)).toEqual(gone);
    },
  },
  {
    title: "30 days after it expired a job never was",
    async run(desk) {
      const job = await desk.done({ key: "k" });
      desk.clock.pass(HOUR_MS + 1000);
      await desk.sweep();
      desk.clock.pass(TOMBSTONE_MS + HOUR_MS);
      await desk.sweep();
      expect(await desk.see(job)).toBeNull();
      expect(await desk.store.read({ get: "rows", rows: [job.row] })).toEqual([]);
      expect(refusalOf(await desk.cancel(job))).toBe("not-found");
      const again = await desk.accept({ key: "k" });
      expect(again.replayed).toBe(false);
      expect(again.job.row).toBeGreaterThan(job.row);
    },
  },
  {
    title: "what is gone can be neither canceled nor settled, nor is it listed",
    async run(desk) {
      const job = await desk.done();
      desk.clock.pass(HOUR_MS + 1000);
      await desk.sweep();
      const gone = await desk.get(job);
      expect(refusalOf(await desk.cancel(job))).toBe("not-found");
      refusalOf(await desk.settle(job));
      refusalOf(await desk.beat(job, { progress: 1 }));
      const { sights } = await desk.store.read({ get: "list", filter: { owner: desk.owner, limit: 10 } });
      expect(sights).toEqual([]);
      expect(await desk.get(job)).toEqual(gone);
    },
  },
  {
    title: "a sweep changes no more than it may at once, and says when there is more",
    alone: true,
    async run(desk) {
      await desk.jobs(7);
      await Promise.all((await desk.claim()).jobs.map((job) => desk.settle(job)));
      desk.clock.pass(HOUR_MS + 1000);
      const swept = [];
      for (let round = 0; round < 4; round++) swept.push(await desk.write({ do: "sweep", limit: 3 }));
      expect(swept.slice(0, 3).map((one) => "did" in one && one.changed)).toEqual([3, 3, 1]);
      expect(swept.slice(0, 3).map((one) => "did" in one && one.more)).toEqual([true, true, false]);
      expect(new Set(swept.flatMap((one) => ("did" in one ? one.gone : []))).size).toBe(7);
    },
  },
  {
    title: "G5: wherever the clock is set, what is queued can be claimed and what runs can be settled",
    async run(desk) {
      for (const step of STEPS) {
        const [running, queued] = await desk.jobs(2);
        const attempt = await desk.attempt({ held: true });
        desk.clock.step(step);
        const fresh = await desk.job();
        await desk.sweep();
        expect(await desk.settle(attempt)).toMatchObject({ status: "completed" });
        const { jobs } = await desk.claim();
        expect(jobs.map(({ row }) => row)).toEqual([queued?.row, fresh.row]);
        desk.clock.step(-step);
        for (const job of jobs) expect(await desk.settle(job)).toMatchObject({ status: "completed" });
        for (const job of [running, queued, fresh])
          expect(await desk.get(job as never)).toMatchObject({ status: "completed", crashes: 0, attempt: 1 });
      }
    },
  },
  {
    title: "G5: a job that came due only for a clock that was set forward waits again once it is set right",
    async run(desk) {
      const job = await desk.job({ delayMs: HOUR_MS });
      const retried = await desk.job();
      await desk.settle(await desk.attempt(), FAILED);
      desk.clock.step(DAY_MS);
      // Any claim and any sweep wakes what is due.
      await desk.claim({ operation: `${desk.operation}-b` });
      await desk.sweep();
      expect((await desk.see(job))?.position).not.toBeNull();
      desk.clock.step(-DAY_MS);
      expect((await desk.claim()).jobs).toEqual([]);
      expect(await desk.see(job)).toMatchObject({ position: null, waitingFor: "delay" });
      desk.clock.pass(HOUR_MS);
      const { jobs } = await desk.claim();
      expect(jobs.map(({ row }) => row)).toEqual([job.row, retried.row]);
    },
  },
  {
    title:
      "G5: a clock that is set forward deletes nothing early, fails no attempt as late, and condemns no worker",
    async run(desk) {
      const done = await desk.done();
      const running = await desk.job({ policy: { maxAttempts: 1 } });
      await desk.attempt({ held: true });
      desk.clock.step(DAY_MS);
      await desk.sweep();
      expect(await desk.get(done)).toEqual(done);
      expect(await desk.get(running)).toMatchObject({ status: "processing", attempt: 1, crashes: 0 });
      desk.clock.step(-DAY_MS);
      await desk.sweep();
      expect(await desk.get(done)).toEqual(done);
    },
  },
  {
    title:
      "G5: a job that ends while the clock is set back or forward keeps its whole retention after it is set right",
    async run(desk) {
      for (const step of STEPS) {
        desk.clock.step(step);
        const job = await desk.done({ operation: `${desk.operation}-${step}` });
        desk.clock.step(-step);
        desk.clock.pass(HOUR_MS - 60_000);
        await desk.sweep();
        expect((await desk.get(job)).goneAt).toBeNull();
      }
    },
  },
  {
    title: "G5: a tombstone and a key that are made while the clock is set forward live no shorter for it",
    async run(desk) {
      const job = await desk.done({ key: "k", policy: { retentionMs: 1000 } });
      desk.clock.pass(2000);
      desk.clock.step(DAY_MS);
      await desk.sweep();
      expect((await desk.accept({ key: "k" })).job.id).toBe(job.id);
      desk.clock.step(-DAY_MS);
      desk.clock.pass(HOUR_MS);
      await desk.sweep();
      expect((await desk.accept({ key: "k" })).job.id).toBe(job.id);
    },
  },
  {
    title: "G5: a key that is made while the clock is set back lives no shorter for it",
    async run(desk) {
      desk.clock.step(-DAY_MS);
      const job = await desk.done({ key: "k", policy: { retentionMs: 1000 } });
      desk.clock.step(DAY_MS);
      desk.clock.pass(HOUR_MS);
      await desk.sweep();
      expect((await desk.accept({ key: "k" })).job.id).toBe(job.id);
      desk.clock.pass(2 * DAY_MS);
      expect((await desk.accept({ key: "k" })).replayed).toBe(false);
    },
  },
  {
    title: "G5: while the clock is set back, a key names the job that took it last",
    async run(desk) {
      const first = await desk.done({ key: "k", policy: { retentionMs: 1000 } });
      desk.clock.pass(DAY_MS + HOUR_MS);
      await desk.sweep();
      const second = await desk.job({ key: "k" });
      expect(second.row).not.toBe(first.row);
      desk.clock.step(-DAY_MS);
      expect((await desk.accept({ key: "k" })).job.row).toBe(second.row);
      desk.clock.step(DAY_MS);
    },
  },
  {
    title: "G5: a clock that is set forward or back has no event forgotten early",
    alone: true,
    async run(desk) {
      await desk.job();
      desk.clock.step(-DAY_MS);
      await desk.job();
      desk.clock.step(DAY_MS);
      await desk.job();
      await desk.sweep();
      desk.clock.step(DAY_MS);
      desk.clock.pass(HOUR_MS);
      await desk.sweep();
      await desk.sweep();
      const events = await desk.store.read({ get: "events", after: 0, limit: 9 });
      expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3]);
      desk.clock.step(-DAY_MS);
    },
  },
  {
    title: "G5: while the clock is set to and fro every job ends once, and no attempt is worked twice",
    async run(desk) {
      const jobs = await desk.jobs(24, { policy: { maxAttempts: 2, isolated: true, leaseMs: 60_000 } });
      const worked = new Map<string, number>();
      await live(desk, async (round) => {
        const claim = await desk.claim({ limit: 5, worker: `w${round}` });
        for (const [index, job] of claim.jobs.entries()) {
          const attempt = `${job.row}.${job.attempt}`;
          worked.set(attempt, (worked.get(attempt) ?? 0) + 1);
          // One in five falls silent, one in five fails.
          if (index % 5 !== 4) await desk.settle(job, index % 5 === 3 ? FAILED : COMPLETED);
        }
        return (await Promise.all(jobs.map((job) => desk.get(job)))).every(({ status }) => isSettled(status));
      });
      expect(Math.max(...worked.values())).toBe(1);
      for (const job of jobs) {
        const kinds = desk.eventsOf(job).map(({ kind }) => kind);
        expect(kinds.filter((kind) => kind === "completed" || kind === "failed")).toHaveLength(1);
      }
    },
  },
];

/** Rounds of work with the clock set a day to and fro between them, until all is done. */
async function live(desk: Desk, work: (round: number) => Promise<boolean>): Promise<void> {
  const settings = [0, DAY_MS, 0, -DAY_MS, -DAY_MS, 0];
  let set = 0;
  const setTo = (to: number) => {
    desk.clock.step(to - set);
    set = to;
  };
  for (let round = 0; round < 60; round++) {
    setTo(settings[round % settings.length] ?? 0);
    desk.clock.pass(61_000);
    await desk.sweep();
    if (await work(round)) return setTo(0);
  }
  throw new Error("Not every job came to its end.");
}
