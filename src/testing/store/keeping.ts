// The store's suite: that all of it is kept as it was given, also when the store is closed and opened again.

import { expect } from "vitest";
import type { Job } from "../../core/job.ts";
import { StoreUnavailable } from "../../store/store.ts";
import { type Case, COMPLETED, DAY_MS, FAILED, HOUR_MS, refusalOf } from "./desk.ts";

export const keeping: readonly Case[] = [
  {
    title: "an input of 250 kB comes back whole after every change, and goes when its job expires",
    async run(desk) {
      const input = JSON.stringify("å".repeat(125_000));
      const job = await desk.job({ input });
      const attempt = await desk.attempt();
      expect(attempt.input).toBe(input);
      for (let progress = 1; progress <= 5; progress++) await desk.beat(attempt, { progress });
      await desk.settle(attempt);
      expect((await desk.get(job)).input).toBe(input);
      desk.clock.pass(HOUR_MS + 1000);
      await desk.sweep();
      expect((await desk.get(job)).input).toBe("null");
    },
  },
  {
    title: "results, checkpoints and problems of 250 kB come back whole",
    async run(desk) {
      const json = JSON.stringify("x".repeat(250_000));
      const job = await desk.job();
      const attempt = await desk.attempt();
      await desk.beat(attempt, { checkpoint: json, message: json });
      expect(await desk.get(job)).toMatchObject({ checkpoint: json, message: json });
      const problem = { type: "a", title: "A", status: 500, detail: json, more: { nested: [1, null] } };
      await desk.settle(attempt, { ...FAILED, problem });
      expect(await desk.get(job)).toMatchObject({ checkpoint: json, problem });
      desk.clock.pass(60_000);
      await desk.settle(await desk.attempt(), {
        ...COMPLETED,
        kind: "completed",
        result: { json },
        files: [],
      });
      expect((await desk.get(job)).result).toEqual({ json });
    },
  },
  {
    title:
      "strange texts come back as they were given: NUL, quotes, emoji, line ends, right to left, JSON in JSON",
    async run(desk) {
      const strange = [
        "\0a\0b",
        `'"\\;--`,
        "🎬 Ünïcödé",
        "a\r\nb\u2028c",
        "\u202eabc",
        "@file",
        "",
        " ",
        "\uffff",
      ];
      for (const [index, text] of strange.entries()) {
        const operation = `${desk.operation}-${index}`;
        const input = JSON.stringify({ [text]: text });
        const job = await desk.job({ operation, input, owner: `${desk.owner} ${text}`, trace: text });
        const attempt = await desk.attempt({ operation, worker: text });
        expect(attempt).toMatchObject({ input, worker: text, trace: text, owner: `${desk.owner} ${text}` });
        await desk.beat(attempt, { message: text, checkpoint: input });
        expect(await desk.get(job)).toMatchObject({ message: text, checkpoint: input });
        const file = { name: text, type: text, bytes: 0, sha256: "", blob: text };
        await desk.settle(attempt, { kind: "completed", result: { file: text }, files: [file] });
        expect(await desk.get(job)).toMatchObject({ result: { file: text }, files: [file] });
        const { sights } = await desk.store.read({ get: "list", filter: { owner: job.owner, limit: 2 } });
        expect(sights.map((sight) => sight.job.row)).toEqual([job.row]);
      }
    },
  },
  {
    title: "half of a surrogate pair does no harm: it stays, or becomes U+FFFD",
    async run(desk) {
      const job = await desk.job();
      const attempt = await desk.attempt({ worker: "w\ud800" });
      await desk.beat(attempt, { message: "a\udc00b" });
      await desk.settle(attempt);
      const after = await desk.get(job);
      expect(after.status).toBe("completed");
      expect(["a\udc00b", "a\ufffdb"]).toContain(after.message);
    },
  },
  {
    title:
      "small texts are kept under names, told by how the names begin, and forgotten when they are set to nothing",
    async run(desk) {
      const prefix = `${desk.operation}/`;
      const kept = () => desk.store.read({ get: "kept", prefix });
      const texts = { [`${prefix}b`]: '{"n":1}', [`${prefix}a`]: "å\0'", [`${prefix}__proto__`]: "" };
      for (const [name, value] of Object.entries(texts)) await desk.write({ do: "keep", name, value });
      await desk.write({ do: "keep", name: `${desk.operation}0/other`, value: "another" });
      expect(Object.entries(await kept())).toEqual([
        [`${prefix}__proto__`, ""],
        [`${prefix}a`, "å\0'"],
        [`${prefix}b`, '{"n":1}'],
      ]);
      await desk.write({ do: "keep", name: `${prefix}a`, value: "new" });
      await desk.write({ do: "keep", name: `${prefix}b`, value: null });
      expect(await kept()).toEqual({ [`${prefix}__proto__`]: "", [`${prefix}a`]: "new" });
    },
  },
  {
    title: "what is under way when the store closes is answered: kept, or refused as unavailable",
    alone: true,
    async run(desk) {
      const asked = Array.from({ length: 500 }, () => desk.submit());
      const closed = desk.store.close();
      const answers = await Promise.allSettled(asked);
      await closed;
      const kept: Job[] = [];
      for (const answer of answers) {
        if (answer.status === "rejected") expect(answer.reason).toBeInstanceOf(StoreUnavailable);
        else if ("did" in answer.value) kept.push(answer.value.job);
      }
      if ((await desk.reopen()) === null) return;
      for (const job of kept) expect(await desk.get(job)).toEqual(job);
      const counts = await desk.store.read({ get: "counts" });
      expect(counts.jobs).toBe(kept.length);
    },
  },
  {
    title: "claims and settles that are under way when the store closes are kept as they were answered",
    alone: true,
    async run(desk) {
      await desk.jobs(60);
      const { jobs } = await desk.claim({ limit: 30 });
      const settled = jobs.map((job) => desk.settle(job));
      const claimed = Array.from({ length: 10 }, () => desk.claim({ limit: 3 }));
      const closed = desk.store.close();
      const [settles, claims] = await Promise.all([Promise.allSettled(settled), Promise.allSettled(claimed)]);
      await closed;
      if ((await desk.reopen()) === null) return;
      for (const [index, settle] of settles.entries()) {
        const { status } = await desk.get(jobs[index] as Job);
        if (settle.status === "fulfilled") expect(status).toBe("completed");
        else expect(settle.reason).toBeInstanceOf(StoreUnavailable);
      }
      const taken = claims.flatMap((claim) => (claim.status === "fulfilled" ? claim.value.jobs : []));
      expect(new Set(taken.map(({ row }) => row)).size).toBe(taken.length);
      for (const job of taken) expect(await desk.get(job)).toEqual(job);
    },
  },
  {
    title: "a claim that waits when the store closes is answered too",
    alone: true,
    async run(desk) {
      const waiting = desk.claim({ waitMs: 600_000 }).then(
        ({ jobs }) => jobs.length,
        (error) => error,
      );
      await desk.store.read({ get: "counts" });
      await desk.store.close();
      const answer = await waiting;
      if (answer !== 0) expect(answer).toBeInstanceOf(StoreUnavailable);
    },
  },
  {
    title: "a closed store answers nothing, and closing it again is no mistake",
    alone: true,
    async run(desk) {
      const job = await desk.job();
      await desk.store.close();
      await expect(desk.submit()).rejects.toBeInstanceOf(StoreUnavailable);
      await expect(desk.see(job)).rejects.toBeInstanceOf(StoreUnavailable);
      const list = { get: "list", filter: { owner: desk.owner, limit: 1 } } as const;
      await expect(desk.store.read(list)).rejects.toBeInstanceOf(StoreUnavailable);
      await desk.store.close();
    },
  },
  {
    title: "A1: a store that is opened again has every job as it was, wherever it stood",
    alone: true,
    async run(desk) {
      const { operation } = desk;
      const jobs: Job[] = [await desk.done(), await desk.done({}, { ...FAILED, final: true })];
      jobs.push(await desk.job());
      await desk.settle(await desk.attempt(), FAILED);
      const expired = await desk.done({ policy: { retentionMs: 1000 }, operation: `${operation}-x` });
      desk.clock.pass(60_000);
      await desk.sweep();
      jobs.push(
        expired,
        await desk.job({ delayMs: HOUR_MS }),
        await desk.job({ input: `"${"x".repeat(5000)}"` }),
      );
      jobs.push(...(await desk.jobs(4, { owner: "many" })), await desk.job({ policy: { priority: 4 } }));
      const running = await desk.job({ operation: `${operation}-r` });
      await desk.beat(await desk.attempt({ operation: `${operation}-r` }), { progress: 5, checkpoint: "1" });
      jobs.push(running);
      const canceled = await desk.job();
      await desk.cancel(canceled);
      jobs.push(canceled);
      const before = await Promise.all(jobs.map((job) => desk.see(job)));
      const counts = await desk.store.read({ get: "counts" });
      if ((await desk.reopen()) === null) return;
      const after = await Promise.all(jobs.map((job) => desk.see(job)));
      // That a worker was seen is not kept: whoever opens the store has to see one first.
      const seen = (sights: typeof before) => sights.map((sight) => ({ ...sight, waitingFor: undefined }));
      expect(seen(after)).toEqual(seen(before));
      expect((await desk.store.read({ get: "counts" })).jobs).toBe(counts.jobs);
    },
  },
  {
    title: "a store that is opened again knows its keys, quotas, pauses, durations and turns",
    alone: true,
    async run(desk) {
      const keyed = await desk.job({ key: "k" });
      await desk.jobs(5, { owner: "many" });
      await desk.write({ do: "pause", operation: "held", paused: true });
      const durations = { at: desk.now, buckets: [10, 1] };
      await desk.write({ do: "learn", operation: "learned", durations });
      const outlook = {
        get: "outlook",
        owner: "new",
        operation: desk.operation,
        priority: 0,
        weight: 1,
      } as const;
      const before = await desk.store.read(outlook);
      if ((await desk.reopen()) === null) return;
      expect(await desk.store.read(outlook)).toEqual(before);
      expect((await desk.accept({ key: "k" })).job).toEqual(keyed);
      expect(refusalOf(await desk.submit({ key: "k", fingerprint: "else" }))).toBe("key-reused");
      expect(refusalOf(await desk.submit({ limits: { active: 1 } }))).toBe("over-quota");
      await desk.job({ operation: "held" });
      expect((await desk.claim({ operation: "held" })).jobs).toEqual([]);
      expect((await desk.store.read({ get: "durations" })).learned).toEqual(durations);
    },
  },
  {
    title: "a store that is opened again rescues what ran, wakes what waits, and expires what is over",
    alone: true,
    async run(desk) {
      const running = await desk.job({ policy: { isolated: true } });
      const attempt = await desk.attempt({ held: true });
      const delayed = await desk.job({ delayMs: 60_000 });
      const done = await desk.done({ operation: "done" });
      const late = await desk.job({ startWithinMs: 60_000, operation: "late" });
      if ((await desk.reopen()) === null) return;
      desk.clock.pass(120_000);
      await desk.sweep();
      expect(await desk.get(running)).toMatchObject({ status: "queued", crashes: 1 });
      expect(refusalOf(await desk.settle(attempt))).toBe("lease-lost");
      expect((await desk.get(late)).status).toBe("failed");
      desk.clock.pass(60_000);
      const { jobs } = await desk.claim();
      expect(jobs.map(({ row }) => row).sort()).toEqual([running.row, delayed.row].sort());
      desk.clock.pass(HOUR_MS);
      await desk.sweep();
      expect((await desk.get(done)).goneAt).not.toBeNull();
      desk.clock.pass(31 * DAY_MS);
      await desk.sweep();
      expect(await desk.see(done)).toBeNull();
    },
  },
  {
    title:
      "C2: a row is never given twice, also when all that came before is forgotten and the store is opened again",
    alone: true,
    async run(desk) {
      const job = await desk.done({ policy: { retentionMs: 1000 } });
      desk.clock.pass(2000);
      await desk.sweep();
      desk.clock.pass(31 * DAY_MS);
      await desk.sweep();
      expect(await desk.see(job)).toBeNull();
      await desk.reopen();
      const next = await desk.job();
      expect(next.row).toBeGreaterThan(job.row);
      await desk.attempt();
      expect(refusalOf(await desk.settle({ ...job, attempt: 1 }))).toBe("lease-lost");
    },
  },
  {
    title:
      "the feed goes on with the next number after a restart, also when all that was told before is forgotten",
    alone: true,
    async run(desk) {
      await desk.jobs(3);
      if ((await desk.reopen()) === null) return;
      await desk.job();
      expect(desk.heard.map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
      desk.clock.pass(2 * DAY_MS);
      for (let round = 0; round < 3; round++) {
        desk.clock.pass(HOUR_MS);
        await desk.sweep();
      }
      await desk.reopen();
      await desk.job();
      expect(desk.heard.at(-1)?.seq).toBe(5);
    },
  },
];
