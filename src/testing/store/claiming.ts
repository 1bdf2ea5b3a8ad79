// The store's suite: who gets which job, in what order, and when.

import { expect } from "vitest";
import { type Case, COMPLETED, CRASHED, DAY_MS, FAILED, RELEASED, refusalOf } from "./desk.ts";

export const claiming: readonly Case[] = [
  {
    title: "claims that race give no job twice",
    async run(desk) {
      await desk.spread();
      const jobs = await desk.jobs(60);
      const claims = await Promise.all(
        Array.from({ length: 20 }, (_, index) => desk.claim({ worker: `w${index}`, limit: 5 })),
      );
      const taken = claims.flatMap(({ jobs: some }) => some.map(({ row }) => row));
      expect(taken.sort((a, b) => a - b)).toEqual(jobs.map(({ row }) => row).sort((a, b) => a - b));
    },
  },
  {
    title: "a claim begins the attempt that it hands over",
    async run(desk) {
      const job = await desk.job();
      const claimed = await desk.attempt({ worker: "someone" });
      expect(claimed).toMatchObject({ row: job.row, status: "processing", attempt: 1, worker: "someone" });
      expect(claimed.leaseUntil).toBe((claimed.startedAt ?? 0) + job.policy.leaseMs);
      expect(await desk.get(job)).toEqual(claimed);
    },
  },
  {
    title: "a claim takes no more than its slots and its limit, and only of the operations it names",
    async run(desk) {
      const [a, b, c] = ["a", "b", "c"].map((name) => `${desk.operation}-${name}`) as [
        string,
        string,
        string,
      ];
      for (const operation of [a, b, c]) await desk.jobs(4, { operation });
      const some = await desk.claim({ slots: { [a]: 2, [b]: 3 }, limit: 4 });
      expect(some.jobs.map(({ operation }) => operation)).toEqual([a, a, b, b]);
      const rest = await desk.claim({ slots: { [a]: 0, [b]: 9 }, limit: 100 });
      expect(rest.jobs.map(({ operation }) => operation)).toEqual([b, b]);
      expect((await desk.claim({ operation: a, limit: 0 })).jobs).toEqual([]);
    },
  },
  {
    title: "a claim takes no more than its slots, also where a job among them had lost its worker",
    async run(desk) {
      const lost = await desk.job();
      await desk.settle(await desk.attempt(), CRASHED);
      await desk.jobs(3);
      desk.clock.pass(60_000);
      const { jobs } = await desk.claim({ slots: { [desk.operation]: 2 }, limit: 10 });
      expect([jobs.length, jobs.some(({ row }) => row === lost.row)]).toEqual([2, true]);
    },
  },
  {
    title: "a job of an operation that no worker knows waits, says so, and is never thrown away",
    async run(desk) {
      const job = await desk.job({ operation: `${desk.operation}-unknown` });
      await desk.job();
      await desk.claim();
      for (let day = 0; day < 3; day++) {
        desk.clock.pass(DAY_MS);
        await desk.sweep();
        expect((await desk.claim()).jobs.filter(({ row }) => row === job.row)).toEqual([]);
      }
      expect(await desk.see(job)).toMatchObject({ job, position: 1, waitingFor: "no-worker" });
      expect((await desk.attempt({ operation: job.operation })).row).toBe(job.row);
    },
  },
  {
    title: "a higher priority starts first; of equals the one whose turn is first",
    async run(desk) {
      const low = await desk.job({ policy: { priority: -1 } });
      const first = await desk.job();
      const second = await desk.job();
      const high = await desk.job({ policy: { priority: 7 } });
      const { jobs } = await desk.claim();
      expect(jobs.map(({ row }) => row)).toEqual([high, first, second, low].map(({ row }) => row));
    },
  },
  {
    title: "D3: behind a thousand jobs of one owner, the one job of another is among the first",
    async run(desk) {
      await desk.jobs(1000);
      const one = await desk.accept({ owner: "a modest one" });
      expect(one.position).toBeLessThanOrEqual(2);
      const { jobs } = await desk.claim({ limit: 2 });
      expect(jobs.some(({ row }) => row === one.job.row)).toBe(true);
    },
  },
  {
    title: "owners share by their weights",
    async run(desk) {
      await desk.jobs(60, { owner: "light", policy: { weight: 1 } });
      await desk.jobs(60, { owner: "heavy", policy: { weight: 3 } });
      const { jobs } = await desk.claim({ limit: 40 });
      const heavy = jobs.filter(({ owner }) => owner === "heavy").length;
      expect(Math.abs(heavy - 30)).toBeLessThanOrEqual(1);
    },
  },
  {
    title: "a delayed job is claimed when it is due, and a claim says when that is",
    alone: true,
    async run(desk) {
      const job = await desk.job({ delayMs: 60_000 });
      expect(await desk.claim()).toMatchObject({ jobs: [], nextAt: job.dueAt });
      desk.clock.pass(59_000);
      expect((await desk.claim()).jobs).toEqual([]);
      desk.clock.pass(1000);
      expect((await desk.attempt()).row).toBe(job.row);
      expect((await desk.claim()).nextAt).toBeNull();
    },
  },
  {
    title: "each failure is followed by a longer wait, and the last by none",
    async run(desk) {
      const job = await desk.job();
      for (const waitMs of [1000, 2000]) {
        await desk.settle(await desk.attempt(), FAILED);
        const waiting = await desk.get(job);
        expect(waiting.dueAt - waiting.updatedAt).toBe(waitMs);
        expect((await desk.claim()).jobs).toEqual([]);
        desk.clock.pass(waitMs);
      }
      await desk.settle(await desk.attempt(), FAILED);
      expect(await desk.get(job)).toMatchObject({ status: "failed", attempt: 3, failures: 3, crashes: 0 });
      desk.clock.pass(60_000);
      expect((await desk.claim()).jobs).toEqual([]);
    },
  },
  {
    title:
      "a wait that the handler asks for is kept where it is longer, and a final failure is not tried again",
    async run(desk) {
      const job = await desk.job();
      await desk.settle(await desk.attempt(), { ...FAILED, retryAfterMs: 7000 });
      const waiting = await desk.get(job);
      expect(waiting.dueAt - waiting.updatedAt).toBe(7000);
      expect(waiting.problem).toEqual(FAILED.problem);
      desk.clock.pass(7000);
      await desk.settle(await desk.attempt(), { ...FAILED, final: true });
      expect(await desk.get(job)).toMatchObject({ status: "failed", attempt: 2 });
    },
  },
  {
    title: "C4: attempts rise, and failures and crashes are counted apart",
    async run(desk) {
      const job = await desk.job({ policy: { isolated: true } });
      for (const outcome of [FAILED, CRASHED, RELEASED, FAILED, CRASHED]) {
        await desk.settle(await desk.attempt(), outcome);
        desk.clock.pass(60_000);
      }
      expect(await desk.get(job)).toMatchObject({ status: "queued", attempt: 5, failures: 2, crashes: 2 });
    },
  },
  {
    title: "a job that is given back counts nothing and can be claimed at once, in its old place",
    async run(desk) {
      const [first] = await desk.jobs(3);
      await desk.settle(await desk.attempt(), RELEASED);
      const again = await desk.attempt();
      expect(again).toMatchObject({ row: first?.row, attempt: 2, failures: 0, crashes: 0 });
    },
  },
  {
    title: "an owner runs no more than he may over all operations, and his next one starts when one ends",
    async run(desk) {
      const limited = { policy: { running: 2 } };
      const other = `${desk.operation}-b`;
      const mine = await desk.jobs(2, limited);
      const elsewhere = await desk.job({ ...limited, operation: other });
      const theirs = await desk.job({ owner: "unlimited" });
      const { jobs } = await desk.claim();
      expect(jobs.map(({ row }) => row).sort()).toEqual([...mine, theirs].map(({ row }) => row).sort());
      expect((await desk.claim({ operation: other })).jobs).toEqual([]);
      expect((await desk.see(elsewhere))?.waitingFor).toBe("quota");
      const ended = jobs.find(({ row }) => row === mine[0]?.row);
      if (ended !== undefined) await desk.settle(ended);
      expect((await desk.attempt({ operation: other })).row).toBe(elsewhere.row);
    },
  },
  {
    title:
      "of jobs held back by a running limit, none is forgotten when the one whose turn has come is canceled",
    async run(desk) {
      const [first, second, third] = await desk.jobs(3, { policy: { running: 1 } });
      if (first === undefined || second === undefined) throw new Error("There were no jobs.");
      const running = await desk.attempt({ limit: 3 });
      expect((await desk.claim()).jobs).toEqual([]);
      await desk.settle(running);
      await desk.cancel(second);
      expect((await desk.attempt()).row).toBe(third?.row);
    },
  },
  {
    title: "a paused operation begins nothing until it goes on, and what runs is not touched",
    async run(desk) {
      const [first] = await desk.jobs(2);
      const running = await desk.attempt();
      await desk.write({ do: "pause", operation: desk.operation, paused: true });
      expect((await desk.claim()).jobs).toEqual([]);
      await desk.settle(running);
      expect((await desk.get(first as never)).status).toBe("completed");
      await desk.write({ do: "pause", operation: desk.operation, paused: false });
      expect((await desk.claim()).jobs).toHaveLength(1);
    },
  },
  {
    title: "C7: after three losses of its worker a job is failed, and not before",
    async run(desk) {
      const job = await desk.job({ policy: { maxAttempts: 9 } });
      for (let loss = 1; loss <= 3; loss++) {
        expect((await desk.get(job)).status).toBe("queued");
        await desk.settle(await desk.attempt(), CRASHED);
        desk.clock.pass(60_000);
      }
      const failed = await desk.get(job);
      expect(failed).toMatchObject({ status: "failed", crashes: 3, failures: 0 });
      expect(failed.problem?.type).toContain("worker-lost");
    },
  },
  {
    title: "C7: jobs that lost their worker are tried again one at a time, beside jobs that did not",
    async run(desk) {
      const lost = await desk.job();
      const other = await desk.job();
      await desk.settle(await desk.attempt(), CRASHED);
      await desk.settle(await desk.attempt(), CRASHED);
      const next = await desk.job();
      desk.clock.pass(60_000);
      const first = await desk.claim({ running: 1 });
      expect([first.drain, first.jobs.map(({ row }) => row)]).toEqual([false, [lost.row, next.row]]);
      expect((await desk.claim({ running: 2, suspects: 1 })).jobs).toEqual([]);
      await desk.settle(first.jobs[0] as never, COMPLETED);
      const second = await desk.claim({ running: 1 });
      expect([second.drain, second.jobs.map(({ row }) => row)]).toEqual([false, [other.row]]);
    },
  },
  {
    title:
      "C7: the last try of a job that lost its workers is alone: who works already is asked to finish first",
    async run(desk) {
      const lost = await desk.job();
      for (let crashes = 0; crashes < 2; crashes++) {
        await desk.settle(await desk.attempt(), CRASHED);
        desk.clock.pass(60_000);
      }
      const next = await desk.job();
      expect(await desk.claim({ running: 1 })).toMatchObject({ jobs: [], drain: true });
      const alone = await desk.claim({ running: 0 });
      expect(alone.drain).toBe(true);
      expect(alone.jobs.map(({ row }) => row)).toEqual([lost.row]);
      await desk.settle(alone.jobs[0] as never, COMPLETED);
      const after = await desk.claim();
      expect([after.drain, after.jobs.map(({ row }) => row)]).toEqual([false, [next.row]]);
    },
  },
  {
    title: "C7: a job whose attempts have a process of their own needs no run alone",
    async run(desk) {
      const job = await desk.job({ policy: { isolated: true } });
      await desk.settle(await desk.attempt(), CRASHED);
      desk.clock.pass(60_000);
      const claim = await desk.claim({ running: 3 });
      expect([claim.drain, claim.jobs.map(({ row }) => row)]).toEqual([false, [job.row]]);
    },
  },
  {
    title: "a job to be run alone whose owner runs as many as he may does not hold up the others",
    async run(desk) {
      const limited = { policy: { running: 1 } };
      const lost = await desk.job(limited);
      await desk.settle(await desk.attempt(), CRASHED);
      desk.clock.pass(60_000);
      const busy = await desk.job({ ...limited, operation: `${desk.operation}-b` });
      const running = await desk.attempt({ operation: busy.operation });
      const other = await desk.job({ owner: "another" });
      expect((await desk.attempt()).row).toBe(other.row);
      await desk.settle(running);
      expect((await desk.attempt()).row).toBe(lost.row);
    },
  },
  {
    title: "a claim that waits is answered by the job that comes",
    async run(desk) {
      const waiting = desk.claim({ waitMs: 60_000 });
      const job = await desk.job();
      expect((await waiting).jobs.map(({ row }) => row)).toEqual([job.row]);
    },
  },
  {
    title: "of two claims that wait, each job answers one",
    async run(desk) {
      const waiting = [desk.claim({ waitMs: 60_000, limit: 1 }), desk.claim({ waitMs: 60_000, limit: 1 })];
      const jobs = await desk.jobs(2);
      const claimed = (await Promise.all(waiting)).flatMap((claim) => claim.jobs.map(({ row }) => row));
      expect(claimed.sort((a, b) => a - b)).toEqual(jobs.map(({ row }) => row));
    },
  },
  {
    title:
      "a claim that waits is answered when a job comes due, when its time is up, and when it is withdrawn",
    async run(desk) {
      const due = desk.claim({ waitMs: 600_000 });
      const job = await desk.job({ delayMs: 60_000 });
      desk.clock.pass(60_000);
      expect((await due).jobs.map(({ row }) => row)).toEqual([job.row]);
      const over = desk.claim({ waitMs: 30_000 });
      await desk.store.read({ get: "counts" });
      desk.clock.pass(30_000);
      expect((await over).jobs).toEqual([]);
      const withdrawn = desk.claim({ waitMs: 600_000, worker: `leaver of ${desk.owner}` });
      await desk.write({ do: "withdraw", worker: `leaver of ${desk.owner}` });
      expect((await withdrawn).jobs).toEqual([]);
    },
  },
  {
    title:
      "a claim that waits is asked to finish first when the last try of a job that lost its workers comes due",
    async run(desk) {
      await desk.job();
      await desk.settle(await desk.attempt(), CRASHED);
      desk.clock.pass(60_000);
      await desk.settle(await desk.attempt(), CRASHED);
      const waiting = desk.claim({ waitMs: 600_000, running: 1 });
      desk.clock.pass(60_000);
      expect(await waiting).toMatchObject({ jobs: [], drain: true });
    },
  },
  {
    title: "a submit that fails its start deadline while it waits is never begun",
    async run(desk) {
      const late = await desk.job({ startWithinMs: 1000 });
      const next = await desk.job();
      desk.clock.pass(1000);
      // The one that is late takes no room.
      const { jobs } = await desk.claim({ slots: { [desk.operation]: 1 }, limit: 1 });
      expect(jobs.map(({ row }) => row)).toEqual([next.row]);
      expect(await desk.get(late)).toMatchObject({ status: "failed", attempt: 0 });
      expect((await desk.get(late)).problem?.type).toContain("deadline-exceeded");
      expect(refusalOf(await desk.cancel(late))).toBe("already-settled");
    },
  },
];
