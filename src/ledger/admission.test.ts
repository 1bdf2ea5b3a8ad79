import { afterEach, describe, expect, it } from "vitest";
import { callerOf, type Opened, type OpenOptions, openLedger } from "../../test/ledger.ts";
import { defineOperation } from "../core/operation.ts";
import { createRates } from "./admission.ts";

describe("the rate", () => {
  const RATE = { quota: 3, windowSeconds: 60 };
  const ada = callerOf("ada", { name: "free", rate: RATE });

  it("lets the quota of a window through and refuses the next, with the seconds until one is back", () => {
    const rates = createRates(() => 1_000_000);
    const taken = [1, 2, 3, 4].map(() => rates.take(ada));
    expect(taken.map(({ retryAfterSeconds }) => retryAfterSeconds)).toEqual([null, null, null, 20]);
    const state = { name: "free", ...RATE };
    expect(taken.map(({ rate }) => rate)).toEqual([
      { ...state, remaining: 2, resetSeconds: 20 },
      { ...state, remaining: 1, resetSeconds: 40 },
      { ...state, remaining: 0, resetSeconds: 60 },
      { ...state, remaining: 0, resetSeconds: 60 },
    ]);
  });

  it("comes back evenly, one submission after its share of the window", () => {
    let now = 1_000_000;
    const rates = createRates(() => now);
    for (let count = 0; count < 3; count++) rates.take(ada);
    now += 19_999;
    expect(rates.take(ada).retryAfterSeconds).toBe(1);
    now += 1;
    expect(rates.take(ada).retryAfterSeconds).toBeNull();
    expect(rates.take(ada).retryAfterSeconds).toBe(20);
    now += 60_000;
    expect(rates.take(ada).rate).toMatchObject({ remaining: 2, resetSeconds: 20 });
  });

  it("is each owner's own", () => {
    const rates = createRates(() => 0);
    for (let count = 0; count < 4; count++) rates.take(ada);
    expect(rates.take({ ...ada, owner: "bob" })).toMatchObject({
      rate: { remaining: 2 },
      retryAfterSeconds: null,
    });
  });

  it("is the tier's: one allows more than another, and one has none", () => {
    const rates = createRates(() => 0);
    const rich = callerOf("eve", { name: "paid", rate: { quota: 100, windowSeconds: 1 } });
    expect(rates.take(rich).rate).toEqual({
      name: "paid",
      quota: 100,
      windowSeconds: 1,
      remaining: 99,
      resetSeconds: 1,
    });
    expect(rates.take(callerOf("kim"))).toEqual({ rate: null, retryAfterSeconds: null });
  });

  it("lets as many be looked up beyond it as it lets through, and gets them back as evenly", () => {
    let now = 1_000_000;
    const rates = createRates(() => now);
    for (let count = 0; count < 4; count++) rates.take(ada);
    const mayLookUp = () => rates.mayLookUp(ada);
    expect([1, 2, 3, 4].map(mayLookUp)).toEqual([true, true, true, false]);
    expect(rates.mayLookUp({ ...ada, owner: "bob" })).toBe(true);
    now += 20_000;
    expect([1, 2].map(mayLookUp)).toEqual([true, false]);
    expect(rates.mayLookUp(callerOf("kim"))).toBe(true);
  });

  it("of a hundred thousand owners is remembered, and past them that of the one known for longest is forgotten", () => {
    const rates = createRates(() => 0);
    const spend = (owner: string) => {
      for (let count = 0; count < 3; count++) rates.take({ ...ada, owner });
    };
    spend("first");
    spend("second");
    for (let count = 2; count < 100_000; count++) rates.take({ ...ada, owner: `owner ${count}` });
    const left = (owner: string) => rates.take({ ...ada, owner }).rate?.remaining;
    expect([left("first"), left("second")]).toEqual([0, 0]);
    expect(left("one more")).toBe(2);
    expect([left("second"), left("first")]).toEqual([0, 2]);
  });
});

describe("admission", () => {
  const ECHO = defineOperation({ name: "echo", backlog: 3 });
  const SCAN = defineOperation({ name: "scan" });
  let opened: Opened;
  const open = async (more: Partial<OpenOptions> = {}) => {
    opened = await openLedger({ operations: [ECHO, SCAN], ...more });
  };
  afterEach(() => opened.end());
  const waiting = async () => (await opened.counts()).jobs;

  it("refuses what comes too fast with the rate and Retry-After, and accepts it when the time has passed", async () => {
    await open();
    const ada = callerOf("ada", { name: "free", rate: { quota: 2, windowSeconds: 10 } });
    const first = await opened.submit(ada, SCAN);
    expect(first).toMatchObject({
      rate: { name: "free", quota: 2, windowSeconds: 10, remaining: 1, resetSeconds: 5 },
    });
    await opened.submit(ada, SCAN);
    expect(await opened.submit(ada, SCAN, { key: "k" })).toEqual({
      refused: expect.objectContaining({ type: "rate-limited", status: 429 }),
      retryAfterSeconds: 5,
      rate: { name: "free", quota: 2, windowSeconds: 10, remaining: 0, resetSeconds: 10 },
    });
    expect(await waiting()).toBe(2);
    opened.clock.pass(5000);
    // The refusal did not use up the key either.
    expect(await opened.submit(ada, SCAN, { key: "k", fingerprint: "f".repeat(32) })).toMatchObject({
      replayed: false,
    });
  });

  it.each(["memory", "sqlite"] as const)(
    "lets an owner have as many unsettled jobs as the tier allows, exactly, also of those that come at once (%s)",
    async (kind) => {
      await open({ kind });
      const ada = callerOf("ada", { name: "free", active: 5 });
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => opened.submit(ada, SCAN)));
      const refused = outcomes.filter((outcome) => "refused" in outcome);
      expect(refused).toHaveLength(15);
      for (const outcome of refused) {
        expect(outcome).toEqual({
          refused: expect.objectContaining({
            type: "over-quota",
            detail: 'The tier "free" allows 5 queued and processing jobs.',
          }),
          retryAfterSeconds: 5,
          rate: null,
        });
      }
      expect(await waiting()).toBe(5);
    },
  );

  it("counts what is processed against the quota, and what is settled no more", async () => {
    await open();
    const ada = callerOf("ada", { active: 1 });
    await opened.accept(ada, SCAN);
    const [job] = (await opened.claim(SCAN)).jobs;
    expect(await opened.submit(ada, SCAN)).toMatchObject({ refused: { type: "over-quota" } });
    await opened.attempts.settle(job as NonNullable<typeof job>, {
      kind: "completed",
      result: { json: "1" },
      files: [],
    });
    expect(await opened.submit(ada, SCAN)).toMatchObject({ replayed: false });
  });

  it("holds no owner's jobs against another's quota", async () => {
    await open();
    await opened.accept(callerOf("ada", { active: 1 }), SCAN);
    expect(await opened.submit(callerOf("bob", { active: 1 }), SCAN)).toMatchObject({ replayed: false });
  });

  it("refuses what no longer fits the backlog of the operation, and takes what is for another one", async () => {
    await open();
    for (const owner of ["ada", "bob", "eve"]) await opened.accept(callerOf(owner), ECHO);
    expect(await opened.submit(callerOf("kim"), ECHO)).toEqual({
      refused: expect.objectContaining({
        type: "backlog-full",
        status: 503,
        detail: "The backlog of echo is full.",
      }),
      retryAfterSeconds: 5,
      rate: null,
    });
    await opened.accept(callerOf("kim"), SCAN);
    await opened.claim(ECHO);
    expect(await opened.submit(callerOf("kim"), ECHO)).toMatchObject({ replayed: false });
  });

  it("refuses what no longer fits the backlog of the server, whatever it is for", async () => {
    await open({ backlog: 2 });
    await opened.accept(callerOf("ada"), ECHO);
    await opened.accept(callerOf("bob"), SCAN);
    for (const operation of [ECHO, SCAN]) {
      expect(await opened.submit(callerOf("kim"), operation)).toMatchObject({
        refused: { type: "backlog-full", detail: "The backlog of the server is full." },
        retryAfterSeconds: 5,
      });
    }
    await opened.claim(SCAN);
    expect(await opened.submit(callerOf("kim"), ECHO)).toMatchObject({ replayed: false });
  });

  it("answers a repeat as before where a new job would be over the quota or the backlog", async () => {
    await open({ backlog: 1 });
    const ada = callerOf("ada", { active: 1 });
    const job = await opened.accept(ada, ECHO, { key: "k" });
    expect(await opened.submit(ada, ECHO, { key: "k" })).toMatchObject({
      replayed: true,
      view: { job: { id: job.id } },
    });
    expect(await opened.submit(ada, ECHO, { key: "other" })).toMatchObject({
      refused: { type: "over-quota" },
    });
  });

  describe("beyond the rate", () => {
    const RATE = { quota: 2, windowSeconds: 60 };
    const DISTINCT = defineOperation({ name: "distinct", dedupe: "content" });
    const ID = "0190b6a0-3a1e-7c3e-8d5f-6a7b8c9d0e1f";
    const ada = callerOf("ada", { rate: RATE });
    const rateLimited = { refused: { type: "rate-limited" }, retryAfterSeconds: 30 };

    it.each([
      ["with its key", ECHO, { key: "k" }],
      ["with its own id", ECHO, { id: ID, idFromCaller: true }],
      ["by its content", DISTINCT, { input: "1" }],
    ] as const)("a repeat %s gets its job, and what is new is refused", async (_how, operation, request) => {
      await open({ operations: [ECHO, DISTINCT] });
      const job = await opened.accept(ada, operation, request);
      await opened.accept(ada, ECHO);
      const repeat = await opened.submit(ada, operation, request);
      expect(repeat).toMatchObject({ replayed: true, view: { job: { id: job.id } }, rate: { remaining: 0 } });
      expect(await opened.submit(ada, ECHO, { key: "new" })).toMatchObject(rateLimited);
      expect(await opened.submit(ada, ECHO)).toMatchObject(rateLimited);
      expect(await waiting()).toBe(2);
      // What was refused has not used up its key.
      opened.clock.pass(30_000);
      const other = { key: "new", fingerprint: "f".repeat(32) };
      expect(await opened.submit(ada, ECHO, other)).toMatchObject({ replayed: false });
    });

    it("another request under a used key is told so", async () => {
      await open();
      await opened.accept(ada, ECHO, { key: "k" });
      await opened.accept(ada, ECHO);
      expect(await opened.submit(ada, ECHO, { key: "k", fingerprint: "f".repeat(32) })).toMatchObject({
        refused: { type: "idempotency-key-reused" },
      });
    });

    it("a storm of repeats is refused once there were as many again as the rate allows, and one looks no more", async () => {
      let writes = 0;
      await open({
        between: (store) => ({
          ...store,
          read: (query) => store.read(query),
          write: (write) => {
            if (write.do === "submit") writes++;
            return store.write(write);
          },
          listen: (listener) => store.listen(listener),
          close: () => store.close(),
        }),
      });
      await opened.accept(ada, ECHO, { key: "k" });
      const outcomes = [];
      for (let count = 0; count < 50; count++) outcomes.push(await opened.submit(ada, ECHO, { key: "k" }));
      expect(outcomes.filter((outcome) => "replayed" in outcome)).toHaveLength(3);
      expect(outcomes.at(-1)).toMatchObject(rateLimited);
      expect(writes).toBe(4);
      opened.clock.pass(30_000);
      expect(await opened.submit(ada, ECHO, { key: "k" })).toMatchObject({ replayed: true });
    });
  });

  it("has a key that was refused for its quota free for the next try", async () => {
    await open();
    const ada = callerOf("ada", { active: 1 });
    const job = await opened.accept(ada, SCAN);
    expect(await opened.submit(ada, SCAN, { key: "k" })).toMatchObject({ refused: { type: "over-quota" } });
    await opened.jobs.cancel(ada, job.id);
    expect(await opened.submit(ada, SCAN, { key: "k", fingerprint: "f".repeat(32) })).toMatchObject({
      replayed: false,
    });
  });

  it("throws where the operation is not known, for that is a bug of who asks", async () => {
    await open();
    const other = defineOperation({ name: "other" });
    await expect(opened.submit(callerOf("ada"), other)).rejects.toThrow(
      new TypeError('There is no operation "other".'),
    );
  });
});
