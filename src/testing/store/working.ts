// The store's suite: the fence, leases, rescue, checkpoints, and how an attempt ends.

import { expect } from "vitest";
import {
  type Case,
  COMPLETED,
  CRASHED,
  DAY_MS,
  type Desk,
  FAILED,
  HOUR_MS,
  RELEASED,
  refusalOf,
} from "./desk.ts";

/** An attempt that was rescued, and the one that follows it. */
async function overtaken(desk: Desk) {
  const job = await desk.job({ policy: { isolated: true } });
  const stale = await desk.attempt({ worker: "stopped" });
  desk.clock.pass(job.policy.leaseMs);
  await desk.sweep();
  desk.clock.pass(60_000);
  return { job, stale, current: await desk.attempt({ worker: "next" }) };
}

export const working: readonly Case[] = [
  {
    title: "a settle ends the job with its outcome, once",
    async run(desk) {
      const job = await desk.job();
      const attempt = await desk.attempt();
      const file = { name: "a.pdf", type: "application/pdf", bytes: 1, sha256: "00", blob: "b" };
      const outcome = { kind: "completed", result: { file: "a.pdf" }, files: [file] } as const;
      expect(await desk.settle(attempt, outcome)).toMatchObject({ did: "keep", status: "completed" });
      const ended = await desk.get(job);
      expect(ended).toMatchObject({ result: { file: "a.pdf" }, files: [file], progress: 100, worker: null });
      expect(ended.expiresAt).toBeGreaterThanOrEqual((ended.finishedAt ?? 0) + job.policy.retentionMs);
      for (const other of [COMPLETED, FAILED, CRASHED, RELEASED]) {
        expect(refusalOf(await desk.settle(attempt, other))).toBe("lease-lost");
      }
      expect(await desk.get(job)).toEqual(ended);
    },
  },
  {
    title: "C1: of many settles at once one has its effect",
    async run(desk) {
      await desk.spread();
      const job = await desk.job();
      const attempt = await desk.attempt();
      const outcomes = [COMPLETED, FAILED, { kind: "canceled" } as const, CRASHED, RELEASED, COMPLETED];
      const settled = await Promise.all(outcomes.map((outcome) => desk.settle(attempt, outcome)));
      expect(settled.filter((written) => "did" in written)).toHaveLength(1);
      expect((await desk.get(job)).revision).toBe(attempt.revision + 1);
    },
  },
  {
    title: "C2: a worker that was given up for dead settles nothing",
    async run(desk) {
      const { job, stale, current } = await overtaken(desk);
      expect(current).toMatchObject({ attempt: 2, worker: "next", crashes: 1 });
      for (const outcome of [COMPLETED, FAILED, CRASHED, RELEASED]) {
        expect(refusalOf(await desk.settle(stale, outcome))).toBe("lease-lost");
      }
      expect(await desk.get(job)).toEqual(current);
    },
  },
  {
    title: "C2: a worker that was given up for dead reports and stores nothing, and renews no lease",
    async run(desk) {
      const { job, stale, current } = await overtaken(desk);
      const beat = { progress: 99, message: "late", checkpoint: '"late"' };
      expect(refusalOf(await desk.beat(stale, beat))).toBe("lease-lost");
      expect(await desk.get(job)).toEqual(current);
      await desk.settle(current);
      expect(refusalOf(await desk.beat(current, beat))).toBe("lease-lost");
      expect(refusalOf(await desk.beat({ ...current, attempt: 3 }))).toBe("lease-lost");
    },
  },
  {
    title: "C2: an attempt of a row that never was is refused",
    async run(desk) {
      const job = await desk.job();
      for (const row of [0, job.row + 1_000_000])
        expect(refusalOf(await desk.settle({ ...job, row, attempt: 1 }))).toBe("lease-lost");
      expect(refusalOf(await desk.settle({ ...job, attempt: 0 }))).toBe("lease-lost");
    },
  },
  {
    title: "a heartbeat renews the lease, and says whether the job was asked to stop",
    async run(desk) {
      const job = await desk.job();
      const attempt = await desk.attempt();
      desk.clock.pass(10_000);
      const renewed = await desk.beat(attempt);
      expect(renewed).toMatchObject({ did: "keep", status: "processing", cancel: false });
      expect((await desk.get(job)).leaseUntil).toBeGreaterThanOrEqual((attempt.leaseUntil ?? 0) + 10_000);
      await desk.cancel(job);
      expect(await desk.beat(attempt)).toMatchObject({ cancel: true });
    },
  },
  {
    title: "progress and message are told as they change, and begin anew with the next attempt",
    async run(desk) {
      const job = await desk.job();
      const attempt = await desk.attempt();
      await desk.beat(attempt, { progress: 12.5, message: "Rendering…" });
      await desk.beat(attempt, { progress: 12.5 });
      await desk.beat(attempt);
      expect(await desk.get(job)).toMatchObject({ progress: 12.5, message: "Rendering…" });
      await desk.beat(attempt, { progress: null, message: null });
      expect(desk.eventsOf(job).map(({ kind }) => kind)).toEqual([
        "queued",
        "started",
        "progress",
        "progress",
      ]);
      await desk.beat(attempt, { progress: 90, message: "Nearly" });
      await desk.settle(attempt, RELEASED);
      expect(await desk.attempt()).toMatchObject({ progress: null, message: null });
    },
  },
  {
    title: "a checkpoint is what the next attempt begins with, whatever ended the one before",
    async run(desk) {
      const job = await desk.job({ policy: { isolated: true, maxAttempts: 9 } });
      for (const [index, outcome] of [FAILED, CRASHED, RELEASED].entries()) {
        const attempt = await desk.attempt();
        expect(attempt.checkpoint).toBe(index === 0 ? null : `{"at":${index - 1}}`);
        await desk.beat(attempt, { checkpoint: `{"at":${index}}` });
        await desk.beat(attempt, { progress: 50 });
        await desk.settle(attempt, outcome);
        desk.clock.pass(60_000);
      }
      const last = await desk.attempt();
      expect(last.checkpoint).toBe('{"at":2}');
      await desk.settle(last);
      expect((await desk.get(job)).checkpoint).toBeNull();
    },
  },
  {
    title: "C6: a lease that the store holds is renewed without a word of its worker",
    async run(desk) {
      const job = await desk.job();
      const attempt = await desk.attempt({ held: true });
      for (let round = 1; round <= 3; round++) {
        desk.clock.pass(10_000);
        await desk.until(async () => {
          const { leaseUntil } = await desk.get(job);
          expect(leaseUntil).toBeGreaterThan((attempt.leaseUntil ?? 0) + round * 10_000 - 5000);
        });
        await desk.sweep();
      }
      expect(await desk.settle(attempt)).toMatchObject({ status: "completed" });
    },
  },
  {
    title: "a lease that the store held is not renewed for the worker of the next attempt",
    async run(desk) {
      const job = await desk.job({ policy: { isolated: true } });
      await desk.settle(await desk.attempt({ held: true }), RELEASED);
      const silent = await desk.attempt({ held: false });
      expect(silent.attempt).toBe(2);
      // A job beside it shows that held leases were renewed meanwhile.
      const beside = await desk.job({ operation: `${desk.operation}-b` });
      const held = await desk.attempt({ operation: beside.operation, held: true });
      desk.clock.pass(job.policy.leaseMs);
      await desk.until(async () => {
        expect((await desk.get(beside)).leaseUntil).toBeGreaterThan(held.leaseUntil ?? 0);
      });
      await desk.sweep();
      expect(await desk.get(job)).toMatchObject({ status: "queued", crashes: 1 });
    },
  },
  {
    title: "a lapsed lease is rescued once, however many sweep",
    async run(desk) {
      await desk.spread();
      const job = await desk.job();
      await desk.attempt();
      await desk.sweep();
      expect((await desk.get(job)).status).toBe("processing");
      desk.clock.pass(job.policy.leaseMs);
      await Promise.all(Array.from({ length: 5 }, () => desk.sweep()));
      const rescued = await desk.get(job);
      expect(rescued).toMatchObject({ status: "queued", attempt: 1, crashes: 1, worker: null });
      expect(rescued.problem?.type).toContain("worker-lost");
    },
  },
  {
    title: "a worker whose lease lapsed but whom nobody missed yet may still settle, and then is not rescued",
    async run(desk) {
      const job = await desk.job();
      const attempt = await desk.attempt();
      desk.clock.pass(job.policy.leaseMs + 1000);
      expect(await desk.settle(attempt)).toMatchObject({ status: "completed" });
      await desk.sweep();
      expect(await desk.get(job)).toMatchObject({ status: "completed", attempt: 1, crashes: 0 });
    },
  },
  {
    title: "C5: a rescue that races the settle never touches settled work",
    async run(desk) {
      const jobs = await desk.jobs(30);
      const attempts = (await desk.claim()).jobs;
      desk.clock.pass(15_000);
      const writes = attempts.flatMap((attempt, index) =>
        index % 2 === 0
          ? [desk.settle(attempt), desk.write({ do: "sweep", limit: 3 })]
          : [desk.write({ do: "sweep", limit: 3 }), desk.settle(attempt)],
      );
      const written = await Promise.all(writes);
      await desk.sweep();
      const kept = written.filter((one) => "did" in one && one.did === "keep").length;
      const ended = await Promise.all(jobs.map((job) => desk.get(job)));
      expect(ended.filter(({ status, crashes }) => status === "completed" && crashes === 0)).toHaveLength(
        kept,
      );
      expect(ended.filter(({ status, crashes }) => status === "queued" && crashes === 1)).toHaveLength(
        jobs.length - kept,
      );
      expect(kept).toBeGreaterThan(0);
    },
  },
  {
    title: "C6: an attempt that outlives its time and its grace is failed, though its lease is renewed",
    async run(desk) {
      const job = await desk.job({ policy: { timeoutMs: 20_000, graceMs: 5000, maxAttempts: 1 } });
      const attempt = await desk.attempt({ held: true });
      desk.clock.pass(23_000);
      await desk.beat(attempt);
      await desk.sweep();
      expect((await desk.get(job)).status).toBe("processing");
      desk.clock.pass(3000);
      await desk.beat(attempt);
      await desk.sweep();
      const failed = await desk.get(job);
      expect(failed).toMatchObject({ status: "failed", failures: 1, crashes: 0 });
      expect(failed.problem?.type).toContain("timed-out");
      expect(refusalOf(await desk.settle(attempt))).toBe("lease-lost");
    },
  },
  {
    title: "C8: a cancel of a queued job ends it at once, and it is never begun",
    async run(desk) {
      const jobs = [await desk.job(), await desk.job({ delayMs: 60_000 }), await desk.job()];
      await desk.settle(await desk.attempt(), FAILED);
      for (const job of jobs) {
        expect(await desk.cancel(job)).toMatchObject({ did: "cancel", job: { status: "canceled" } });
        expect(desk.eventsOf(job).at(-1)?.kind).toBe("canceled");
      }
      desk.clock.pass(120_000);
      expect((await desk.claim()).jobs).toEqual([]);
    },
  },
  {
    title: "a cancel of a running job asks it to stop, and the job ends as its handler does",
    async run(desk) {
      const [stops, throws, completes] = await desk.jobs(3);
      const { jobs } = await desk.claim();
      for (const job of jobs) {
        expect(await desk.cancel(job)).toMatchObject({ did: "cancel", job: { status: "processing" } });
      }
      if (stops === undefined || throws === undefined || completes === undefined) throw new Error("No jobs.");
      expect(desk.eventsOf(stops).at(-1)?.kind).toBe("cancel-requested");
      await desk.settle(jobs[0] as never, { kind: "canceled" });
      await desk.settle(jobs[1] as never, FAILED);
      await desk.settle(jobs[2] as never, COMPLETED);
      expect((await desk.get(stops)).status).toBe("canceled");
      expect((await desk.get(throws)).status).toBe("canceled");
      expect((await desk.get(completes)).status).toBe("completed");
    },
  },
  {
    title: "a second cancel changes nothing, and one of a settled job is refused with the job",
    async run(desk) {
      const running = await desk.job();
      await desk.attempt();
      const asked = await desk.cancel(running);
      expect(await desk.cancel(running)).toEqual(asked);
      const queued = await desk.job();
      const canceled = await desk.cancel(queued);
      expect(await desk.cancel(queued)).toEqual(canceled);
      for (const outcome of [COMPLETED, { ...FAILED, final: true } as const]) {
        const job = await desk.done({ operation: `${desk.operation}-b` }, outcome);
        expect(await desk.cancel(job)).toEqual({ refused: "already-settled", job });
        expect(await desk.get(job)).toEqual(job);
      }
      expect(refusalOf(await desk.cancel({ ...queued, id: "never-was" }))).toBe("not-found");
      expect(refusalOf(await desk.cancel({ ...queued, owner: "another" }))).toBe("not-found");
    },
  },
  {
    title: "C8: a cancel that races the completion has one outcome, and both are told it",
    async run(desk) {
      const jobs = await desk.jobs(40);
      const attempts = (await desk.claim()).jobs;
      await Promise.all(
        jobs.map(async (job, index) => {
          const attempt = attempts.find(({ row }) => row === job.row);
          if (attempt === undefined) throw new Error("It was not claimed.");
          const doings = [() => desk.settle(attempt), () => desk.cancel(job)] as const;
          const order = index % 2 === 0 ? doings : ([doings[1], doings[0]] as const);
          const [first, second] = await Promise.all(order.map((doing) => doing()));
          const [settled, canceled] = index % 2 === 0 ? [first, second] : [second, first];
          // The settle was in time: the cancel only asked, or came too late and says so.
          expect(settled).toMatchObject({ status: "completed" });
          expect(canceled).toMatchObject(
            index % 2 === 0
              ? { refused: "already-settled", job: { status: "completed" } }
              : { did: "cancel", job: { status: "processing" } },
          );
        }),
      );
      for (const job of jobs) {
        expect((await desk.get(job)).status).toBe("completed");
        const ends = desk.eventsOf(job).filter(({ kind }) => kind === "completed" || kind === "canceled");
        expect(ends.map(({ kind }) => kind)).toEqual(["completed"]);
      }
    },
  },
  {
    title: "a handler that does not stop within its grace is canceled without it",
    async run(desk) {
      const job = await desk.job();
      const attempt = await desk.attempt({ held: true });
      await desk.cancel(job);
      desk.clock.pass(job.policy.graceMs - 1000);
      await desk.sweep();
      expect((await desk.get(job)).status).toBe("processing");
      desk.clock.pass(1000);
      await desk.sweep();
      expect(await desk.get(job)).toMatchObject({ status: "canceled", failures: 0, crashes: 0 });
      expect(refusalOf(await desk.settle(attempt))).toBe("lease-lost");
    },
  },
  {
    title: "a job that was asked to stop is never tried again, whatever ends its attempt",
    async run(desk) {
      const policy = { timeoutMs: 1000, graceMs: 60_000, isolated: true };
      const jobs = await desk.jobs(4, { policy });
      const attempts = (await desk.claim({ held: false })).jobs;
      // Past its time, within its grace.
      desk.clock.pass(30_000);
      for (const attempt of attempts) await desk.beat(attempt);
      for (const job of jobs) await desk.cancel(job);
      await desk.settle(attempts[0] as never, CRASHED);
      await desk.settle(attempts[1] as never, RELEASED);
      await desk.settle(attempts[2] as never, FAILED);
      // Past both together, but not past the grace since it was asked.
      desk.clock.pass(40_000);
      await desk.sweep();
      for (const job of jobs) expect((await desk.get(job)).status).toBe("canceled");
      desk.clock.pass(HOUR_MS);
      expect((await desk.claim()).jobs).toEqual([]);
      desk.clock.pass(DAY_MS);
    },
  },
];
