// The store's suite: what is accepted, what is the same, and what is too much.

import { expect } from "vitest";
import { addressOf, type Case, DAY_MS, HOUR_MS, RELEASED, refusalOf } from "./desk.ts";

export const accepting: readonly Case[] = [
  {
    title: "what a submit is answered with is what is read back",
    async run(desk) {
      const upload = { name: "a.mp4", type: "video/mp4", bytes: 3, sha256: "00", blob: "b" };
      const accepted = await desk.accept({ upload, trace: "00-1-2-01 x=y", startWithinMs: 5000 });
      expect(accepted.replayed).toBe(false);
      const { did: _, replayed: __, ...sight } = accepted;
      expect(await desk.see(accepted.job)).toEqual(sight);
      expect(accepted.job).toMatchObject({ status: "queued", revision: 1, attempt: 0, upload });
      expect(accepted.job.startBy).toBe(accepted.job.createdAt + 5000);
    },
  },
  {
    title: "A4: a job, its key, its charge and its first event appear together",
    async run(desk) {
      const before = desk.heard.at(-1)?.seq ?? 0;
      const job = await desk.job({ key: "k", limits: { active: 1 } });
      expect(await desk.see(job)).not.toBeNull();
      expect((await desk.accept({ key: "k" })).job.id).toBe(job.id);
      expect(refusalOf(await desk.submit({ limits: { active: 1 } }))).toBe("over-quota");
      const events = await desk.store.read({ get: "events", after: before, limit: 10 });
      expect(events.filter(({ row }) => row === job.row).map(({ kind }) => kind)).toEqual(["queued"]);
    },
  },
  {
    title: "A4: a refused submit leaves nothing: no job, no key, no charge, no event",
    async run(desk) {
      const asked = { id: "refused", key: "k", limits: { active: 0 } };
      expect(refusalOf(await desk.submit(asked))).toBe("over-quota");
      expect(await desk.store.read({ get: "job", address: addressOf(desk.owner, "refused") })).toBeNull();
      expect((await desk.accept({ key: "k", limits: { active: 1 } })).replayed).toBe(false);
      expect(desk.heard.filter(({ owner }) => owner === desk.owner)).toHaveLength(1);
    },
  },
  {
    title: "B1: 64 submits with one key at once make one job",
    async run(desk) {
      await desk.spread();
      const all = await Promise.all(Array.from({ length: 64 }, () => desk.accept({ key: "k" })));
      expect(new Set(all.map(({ job }) => job.id)).size).toBe(1);
      expect(all.filter(({ replayed }) => !replayed)).toHaveLength(1);
      await desk.hearAll();
      expect(desk.heard.filter(({ owner }) => owner === desk.owner)).toHaveLength(1);
    },
  },
  {
    title: "B2: a repeat is answered with the same job, as it stands by then",
    async run(desk) {
      const job = await desk.job({ key: "k" });
      const running = await desk.attempt();
      expect((await desk.accept({ key: "k" })).job).toMatchObject({ id: job.id, status: "processing" });
      await desk.settle(running);
      const repeat = await desk.accept({ key: "k" });
      expect(repeat).toMatchObject({ replayed: true, job: { id: job.id, status: "completed" } });
      expect(repeat.job).toEqual(await desk.get(job));
    },
  },
  {
    title: "B3: the same key with another payload is refused, with no effect",
    async run(desk) {
      const job = await desk.job({ key: "k", input: "1" });
      const other = await desk.submit({ id: "other payload", key: "k", input: "2" });
      expect(refusalOf(other)).toBe("key-reused");
      expect(await desk.get(job)).toEqual(job);
      expect(
        await desk.store.read({ get: "job", address: addressOf(desk.owner, "other payload") }),
      ).toBeNull();
    },
  },
  {
    title: "B4: a key is one owner's and one operation's",
    async run(desk) {
      const mine = await desk.job({ key: "k" });
      const theirs = await desk.job({ key: "k", owner: `${desk.owner} b`, fingerprint: "else" });
      const elsewhere = await desk.job({ key: "k", operation: `${desk.operation}-b`, fingerprint: "else" });
      expect(new Set([mine.row, theirs.row, elsewhere.row]).size).toBe(3);
    },
  },
  {
    title: "B5: a refused submit does not consume its key",
    async run(desk) {
      for (const limits of [{ active: 0 }, { operationBacklog: 0 }, { backlog: 0 }]) {
        refusalOf(await desk.submit({ key: "k", limits }));
      }
      expect((await desk.accept({ key: "k" })).replayed).toBe(false);
    },
  },
  {
    title: "a repeat is answered though the quota and the backlog are full by then",
    async run(desk) {
      const job = await desk.job({ key: "k" });
      const full = { active: 1, operationBacklog: 1, backlog: 1 };
      expect((await desk.accept({ key: "k", limits: full })).job.id).toBe(job.id);
    },
  },
  {
    title: "equal content is the same job while it lives, and a new one once it has settled",
    async run(desk) {
      const job = await desk.job({ reach: "live" });
      expect((await desk.accept({ reach: "live" })).job.id).toBe(job.id);
      const running = await desk.attempt();
      expect((await desk.accept({ reach: "live" })).job.id).toBe(job.id);
      await desk.settle(running);
      const next = await desk.accept({ reach: "live" });
      expect([next.replayed, next.job.id === job.id]).toEqual([false, false]);
      expect((await desk.accept({ reach: "live" })).job.id).toBe(next.job.id);
      expect((await desk.accept({ reach: "live", input: "2" })).replayed).toBe(false);
    },
  },
  {
    title: "64 submits of one content at once make one job",
    async run(desk) {
      await desk.spread();
      const all = await Promise.all(Array.from({ length: 64 }, () => desk.accept({ reach: "live" })));
      expect(new Set(all.map(({ job }) => job.id)).size).toBe(1);
    },
  },
  {
    title: "a repeat with an id that the caller made is the same job",
    async run(desk) {
      await desk.spread();
      const asked = { id: `made-${desk.owner}`, idFromCaller: true };
      const all = await Promise.all(Array.from({ length: 8 }, () => desk.accept(asked)));
      expect(new Set(all.map(({ job }) => job.row)).size).toBe(1);
      expect(all.filter(({ replayed }) => !replayed)).toHaveLength(1);
    },
  },
  {
    title: "an id that the caller made is refused for another payload, and where it names a job already",
    async run(desk) {
      const asked = { id: `made-${desk.owner}`, idFromCaller: true };
      await desk.accept(asked);
      expect(refusalOf(await desk.submit({ ...asked, fingerprint: "else" }))).toBe("key-reused");
      const posted = await desk.job();
      expect(refusalOf(await desk.submit({ ...asked, id: posted.id }))).toBe("key-reused");
      expect(await desk.get(posted)).toEqual(posted);
    },
  },
  {
    title: "D1: the same id of two owners is two jobs",
    async run(desk) {
      const asked = { id: `made-${desk.owner}`, idFromCaller: true };
      const mine = await desk.job(asked);
      const theirs = await desk.job({ ...asked, owner: `${desk.owner} b`, fingerprint: "else" });
      expect(mine.row).not.toBe(theirs.row);
      expect((await desk.get(mine)).owner).toBe(desk.owner);
    },
  },
  {
    title: "B1: a key lives for 24 hours though its job expired long before",
    async run(desk) {
      const job = await desk.done({ key: "k", policy: { retentionMs: 1000 } });
      desk.clock.pass(HOUR_MS);
      await desk.sweep();
      const repeat = await desk.accept({ key: "k" });
      expect(repeat.job.id).toBe(job.id);
      expect(repeat.job.goneAt).not.toBeNull();
      desk.clock.pass(DAY_MS);
      expect((await desk.accept({ key: "k" })).replayed).toBe(false);
    },
  },
  {
    title: "B1: a key lives as long as its job and its retention, where that is longer",
    async run(desk) {
      const job = await desk.done({ key: "k", policy: { retentionMs: 3 * DAY_MS } });
      desk.clock.pass(2 * DAY_MS);
      await desk.sweep();
      expect((await desk.accept({ key: "k" })).job.id).toBe(job.id);
      desk.clock.pass(2 * DAY_MS);
      await desk.sweep();
      expect((await desk.accept({ key: "k" })).replayed).toBe(false);
    },
  },
  {
    title: "D4: the quota is exact however submits, claims, cancels and settles interleave",
    async run(desk) {
      await desk.spread();
      const limits = { active: 5 };
      let refused = 0;
      for (let round = 0; round < 12; round++) {
        const running = await desk.claim({ limit: 3 });
        const queued = desk.heard.filter(({ kind, owner }) => kind === "queued" && owner === desk.owner);
        const writes: Promise<unknown>[] = [];
        for (let count = 0; count < 8; count++) {
          writes.push(desk.submit({ limits }).then((written) => (refused += "refused" in written ? 1 : 0)));
          const job = running.jobs[count];
          if (job !== undefined) writes.push(count % 2 === 0 ? desk.settle(job) : desk.cancel(job));
          const some = queued[(round * 7 + count) % Math.max(1, queued.length)];
          if (some !== undefined && count === 4)
            writes.push(desk.write({ do: "cancel", address: addressOf(some.owner, some.id) }));
        }
        await Promise.all(writes);
        await desk.hearAll();
      }
      let active = 0;
      let most = 0;
      for (const { owner, kind } of desk.heard) {
        if (owner !== desk.owner) continue;
        if (kind === "queued") active++;
        if (kind === "completed" || kind === "failed" || kind === "canceled") active--;
        most = Math.max(most, active);
      }
      expect(most).toBe(5);
      expect(refused).toBeGreaterThan(0);
      const outlook = { owner: desk.owner, operation: desk.operation, priority: 0, weight: 1 };
      expect((await desk.store.read({ get: "outlook", ...outlook })).active).toBe(active);
    },
  },
  {
    title: "what waits counts to the backlog of its operation, what runs does not",
    async run(desk) {
      const limits = { operationBacklog: 2 };
      await desk.jobs(2, { limits });
      expect(refusalOf(await desk.submit({ limits }))).toBe("operation-backlog-full");
      await desk.accept({ limits, operation: `${desk.operation}-b` });
      const running = await desk.attempt();
      await desk.accept({ limits });
      // One that waits for its next attempt waits.
      await desk.settle(running, RELEASED);
      expect(refusalOf(await desk.submit({ limits }))).toBe("operation-backlog-full");
    },
  },
  {
    title: "what waits counts to the backlog of the whole store",
    alone: true,
    async run(desk) {
      const limits = { backlog: 2 };
      await desk.job({ limits });
      await desk.job({ limits, operation: "other", delayMs: 60_000 });
      expect(refusalOf(await desk.submit({ limits, owner: "other" }))).toBe("backlog-full");
      await desk.attempt();
      await desk.accept({ limits });
    },
  },
  {
    title: "5,000 submits at once are all accepted, and rise in the order in which they were given",
    async run(desk) {
      const jobs = await desk.jobs(5000, { operation: `${desk.operation}-many` });
      const rows = jobs.map(({ row }) => row);
      expect(new Set(rows).size).toBe(5000);
      expect(rows).toEqual([...rows].sort((a, b) => a - b));
    },
  },
];
