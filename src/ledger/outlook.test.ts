import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { COMPLETED, callerOf, type Opened, openLedger, requestOf } from "../../test/ledger.ts";
import type { Job } from "../core/job.ts";
import type { SubmitRequest } from "../core/jobs.ts";
import { defineOperation } from "../core/operation.ts";

const ADA = callerOf("ada");
const BOB = callerOf("bob");
const OTHER = "f".repeat(32);
const ID = "0190b6a0-3a1e-7c3e-8d5f-6a7b8c9d0e1f";

let opened: Opened;

describe("a start deadline", () => {
  afterEach(() => opened.end());
  const RENDER = defineOperation({ name: "render" });
  const SOON = defineOperation({ name: "soon", startWithin: "30s" });

  // One worker of one slot that is taken, and each run takes ten seconds: a turn every ten seconds.
  beforeEach(async () => {
    opened = await openLedger({ operations: [RENDER, SOON] });
    for (const operation of [RENDER, SOON]) {
      for (let count = 0; count < 2; count++) await opened.accept(BOB, operation);
      const [job] = (await opened.claim(operation)).jobs;
      opened.clock.pass(10_000);
      await opened.attempts.settle(job as Job, COMPLETED);
      await opened.claim(operation);
    }
  });
  const unattainable = { refused: { type: "deadline-unattainable" } };

  it("that can't be kept is refused, with the seconds until it might be, and nothing is accepted", async () => {
    const before = await opened.counts();
    const outcome = await opened.submit(ADA, RENDER, { startWithinMs: 1000 });
    // Half a run is ahead on average, of which one second is allowed.
    expect(outcome).toMatchObject({ ...unattainable, retryAfterSeconds: expect.any(Number) });
    const { retryAfterSeconds } = outcome as { retryAfterSeconds: number };
    expect(retryAfterSeconds).toBeGreaterThanOrEqual(4);
    expect(retryAfterSeconds).toBeLessThanOrEqual(5);
    expect(await opened.counts()).toEqual(before);
  });

  it("that can be kept is accepted, and dated from then", async () => {
    const job = await opened.accept(ADA, RENDER, { startWithinMs: 20_000 });
    expect(job.startBy).toBe(opened.now() + 20_000);
  });

  it("counts those who wait ahead", async () => {
    for (let count = 0; count < 3; count++) await opened.accept(BOB, RENDER);
    await opened.accept(ADA, RENDER, { startWithinMs: 60_000 });
    expect(await opened.submit(ADA, RENDER, { startWithinMs: 20_000 })).toMatchObject(unattainable);
  });

  it("of the operation holds where the caller names none, and the caller's where it does", async () => {
    for (let count = 0; count < 4; count++) await opened.accept(ADA, SOON, { startWithinMs: 3_600_000 });
    expect(await opened.submit(ADA, SOON)).toMatchObject(unattainable);
    expect(await opened.submit(ADA, SOON, { startWithinMs: 3_600_000 })).toMatchObject({ replayed: false });
    expect(await opened.submit(ADA, RENDER)).toMatchObject({ replayed: false });
  });

  it("that a delay alone oversteps is refused", async () => {
    const idle = { delayMs: 7_200_000, startWithinMs: 3_600_000 };
    expect(await opened.submit(ADA, RENDER, idle)).toMatchObject(unattainable);
  });

  it("that could not be kept by now takes nothing back: the key's repeat is still the same job", async () => {
    const asked = { key: "k", startWithinMs: 6000 };
    const job = await opened.accept(ADA, RENDER, asked);
    expect(await opened.submit(ADA, RENDER, asked)).toMatchObject({
      replayed: true,
      view: { job: { id: job.id } },
    });
    expect(await opened.submit(ADA, RENDER, { ...asked, fingerprint: OTHER })).toMatchObject({
      refused: { type: "idempotency-key-reused" },
    });
    expect(await opened.submit(ADA, RENDER, { ...asked, key: "new" })).toMatchObject(unattainable);
    expect(await opened.submit(ADA, RENDER, { key: "new", fingerprint: OTHER })).toMatchObject({
      replayed: false,
    });
  });

  it("that has passed fails the job, and its repeat by key or id is still that job", async () => {
    const asked = { key: "k", startWithinMs: 6000 };
    const put = { id: ID, idFromCaller: true, startWithinMs: 60_000 };
    const job = await opened.accept(ADA, RENDER, asked);
    await opened.accept(ADA, RENDER, put);
    opened.clock.pass(60_000);
    await opened.sweep();
    for (const [id, again] of [
      [job.id, asked],
      [ID, put],
    ] as const) {
      expect(await opened.submit(ADA, RENDER, { ...again, startWithinMs: 1 })).toMatchObject({
        replayed: true,
        view: { job: { id, status: "failed", problem: { type: "deadline-exceeded" } } },
      });
    }
  });
});

describe("a preview", () => {
  afterEach(() => opened.end());
  const RENDER = defineOperation({ name: "render", backlog: 20 });

  async function preview(caller = ADA, more: Partial<SubmitRequest> = {}) {
    const outcome = await opened.jobs.preview(caller, requestOf(RENDER, more));
    if ("refused" in outcome) throw new Error(`It was refused: ${outcome.refused.type}.`);
    return outcome;
  }

  async function warm() {
    for (let count = 0; count < 2; count++) await opened.accept(BOB, RENDER);
    const [job] = (await opened.claim(RENDER)).jobs;
    opened.clock.pass(10_000);
    await opened.attempts.settle(job as Job, COMPLETED);
    await opened.claim(RENDER);
  }

  it("leaves nothing behind, and counts to the rate", async () => {
    opened = await openLedger({ operations: [RENDER] });
    const limited = callerOf("ada", { active: 1, rate: { quota: 6, windowSeconds: 60 } });
    const before = (await opened.counts()).jobs;
    const events: unknown[] = [];
    opened.listen((event) => events.push(event));
    for (let count = 0; count < 5; count++) {
      expect(await preview(limited, { key: "k" })).toEqual({
        repeats: null,
        position: 1,
        completionAt: expect.any(Number),
        quota: { active: 0, limit: 1, cost: 1 },
        rate: {
          name: "default",
          quota: 6,
          windowSeconds: 60,
          remaining: 5 - count,
          resetSeconds: expect.any(Number),
        },
      });
    }
    expect([(await opened.counts()).jobs, events]).toEqual([before, []]);
    expect(await opened.submit(limited, RENDER, { key: "k", fingerprint: OTHER })).toMatchObject({
      replayed: false,
    });
    expect(await opened.jobs.preview(limited, requestOf(RENDER))).toMatchObject({
      refused: { type: "rate-limited" },
    });
  });

  it("of a repeat tells the job that is there, also beyond the quota, and that it costs nothing", async () => {
    opened = await openLedger({ operations: [RENDER] });
    const limited = callerOf("ada", { active: 2 });
    const [{ id }] = [
      await opened.accept(limited, RENDER, { key: "k" }),
      await opened.accept(limited, RENDER),
    ];
    const quota = { active: 2, limit: 2, cost: 0 };
    expect(await preview(limited, { key: "k" })).toEqual({
      repeats: id,
      position: 1,
      completionAt: expect.any(Number),
      quota,
      rate: null,
    });
    expect(
      await opened.jobs.preview(limited, requestOf(RENDER, { key: "k", fingerprint: OTHER })),
    ).toMatchObject({
      refused: { type: "idempotency-key-reused" },
    });
    await opened.work(RENDER);
    expect(await preview(limited, { key: "k" })).toEqual({
      repeats: id,
      position: null,
      completionAt: null,
      quota: { ...quota, active: 1 },
      rate: null,
    });
    expect((await opened.counts()).jobs).toBe(2);
  });

  it("tells the place and the end that a submit then gets", async () => {
    opened = await openLedger({ operations: [RENDER] });
    await warm();
    const paid = callerOf("eve", { priority: 1 });
    for (const [caller, more] of [
      [ADA, {}],
      [ADA, {}],
      [BOB, {}],
      [paid, {}],
      [paid, { priority: -1 }],
      [callerOf("kim", { weight: 4 }), {}],
      [ADA, { priority: -100 }],
    ] as const) {
      const told = await preview(caller, more);
      const accepted = await opened.submit(caller, RENDER, more);
      expect(accepted).toMatchObject({ view: { position: told.position, completionAt: told.completionAt } });
    }
  });

  it("tells the active jobs as they count against the quota", async () => {
    opened = await openLedger({ operations: [RENDER] });
    await opened.accept(ADA, RENDER);
    await opened.accept(BOB, RENDER);
    expect((await preview(ADA)).quota).toEqual({ active: 1, limit: null, cost: 1 });
  });

  it.each<[string, { backlog?: number }, Parameters<typeof callerOf>[1], Partial<SubmitRequest>, string]>([
    ["the quota", {}, { active: 1 }, {}, "over-quota"],
    ["the deadline", {}, {}, { startWithinMs: 1 }, "deadline-unattainable"],
    ["the quota before the deadline", {}, { active: 1 }, { startWithinMs: 1 }, "over-quota"],
    ["the server's backlog", { backlog: 2 }, {}, {}, "backlog-full"],
    ["the quota before the backlog", { backlog: 2 }, { active: 1 }, {}, "over-quota"],
  ])("is refused for %s as the submit then is", async (_why, settings, tier, more, type) => {
    opened = await openLedger({ operations: [RENDER], ...settings });
    await warm();
    await opened.accept(callerOf("ada"), RENDER);
    await opened.accept(BOB, RENDER);
    const told = await opened.jobs.preview(callerOf("ada", tier), requestOf(RENDER, more));
    expect(told).toMatchObject({ refused: { type } });
    expect(told).toEqual(await opened.submit(callerOf("ada", tier), RENDER, more));
  });

  it("is refused for the operation's backlog as the submit then is", async () => {
    opened = await openLedger({ operations: [RENDER] });
    for (let count = 0; count < 20; count++) await opened.accept(BOB, RENDER);
    const told = await opened.jobs.preview(ADA, requestOf(RENDER));
    expect(told).toMatchObject({
      refused: { type: "backlog-full", detail: "The backlog of render is full." },
    });
    expect(told).toEqual(await opened.submit(ADA, RENDER));
  });

  it("is refused for the rate as the submit then is", async () => {
    opened = await openLedger({ operations: [RENDER] });
    const limited = callerOf("ada", { rate: { quota: 1, windowSeconds: 60 } });
    await opened.accept(limited, RENDER);
    const told = await opened.jobs.preview(limited, requestOf(RENDER));
    expect(told).toMatchObject({ refused: { type: "rate-limited" }, retryAfterSeconds: 60 });
    expect(told).toEqual(await opened.submit(limited, RENDER));
  });
});
