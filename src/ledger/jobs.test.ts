import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { COMPLETED, callerOf, type Opened, openLedger } from "../../test/ledger.ts";
import type { Job } from "../core/job.ts";
import type { SubmitRequest } from "../core/jobs.ts";
import { defineOperation } from "../core/operation.ts";

const ECHO = defineOperation({ name: "echo", retention: "1h" });
const SCAN = defineOperation({ name: "scan" });
const DISTINCT = defineOperation({ name: "distinct", dedupe: "content" });
let ADA = callerOf("ada");
let BOB = callerOf("bob");
const OTHER = "f".repeat(32);
const ID = "0190b6a0-3a1e-7c3e-8d5f-6a7b8c9d0e1f";

let opened: Opened;

describe.each(["memory", "sqlite"] as const)("over the store %s", (kind) => {
  // One store for all, each time with other owners, and nothing left in line.
  let times = 0;
  beforeAll(async () => {
    opened = await openLedger({ operations: [ECHO, SCAN, DISTINCT], kind });
  });
  beforeEach(() => {
    times++;
    ADA = callerOf(`ada ${times}`);
    BOB = callerOf(`bob ${times}`);
  });
  afterEach(async () => {
    for (const caller of [ADA, BOB]) {
      const { views } = await opened.jobs.list(caller, { limit: 200, status: ["queued"] });
      for (const { job } of views) await opened.jobs.cancel(caller, job.id);
    }
  });
  afterAll(() => opened.end());
  const jobsInAll = async () => {
    const lists = [ADA, BOB].map((caller) => opened.jobs.list(caller, { limit: 200 }));
    return (await Promise.all(lists)).flatMap(({ views }) => views).length;
  };
  const replayOf = (job: Job) => ({ replayed: true, view: { job: { id: job.id, row: job.row } } });
  const first = { replayed: false };

  describe("a key", () => {
    it("sent again gets the same job, also once it is settled", async () => {
      const job = await opened.accept(ADA, ECHO, { key: "k" });
      expect(await opened.submit(ADA, ECHO, { key: "k" })).toMatchObject(replayOf(job));
      await opened.work(ECHO);
      const late = await opened.submit(ADA, ECHO, { key: "k" });
      expect(late).toMatchObject(replayOf(job));
      expect(late).toMatchObject({
        view: { job: { status: "completed" }, completionAt: null, retryAfterSeconds: null },
      });
      expect(await jobsInAll()).toBe(1);
    });

    it("sent many times at once is one job", async () => {
      const all = await Promise.all(Array.from({ length: 16 }, () => opened.accept(ADA, ECHO, { key: "k" })));
      expect(new Set(all.map(({ id }) => id)).size).toBe(1);
      expect(await jobsInAll()).toBe(1);
    });

    it("with another request is refused and changes nothing", async () => {
      const job = await opened.accept(ADA, ECHO, { key: "k" });
      expect(await opened.submit(ADA, ECHO, { key: "k", fingerprint: OTHER })).toEqual({
        refused: expect.objectContaining({ type: "idempotency-key-reused", status: 422 }),
        retryAfterSeconds: null,
        rate: null,
      });
      expect((await opened.jobs.get(ADA, job.id))?.job).toEqual(job);
      expect(await jobsInAll()).toBe(1);
    });

    it("is one of its owner and its operation only", async () => {
      await opened.accept(ADA, ECHO, { key: "k" });
      expect(await opened.submit(BOB, ECHO, { key: "k", fingerprint: OTHER })).toMatchObject(first);
      expect(await opened.submit(ADA, SCAN, { key: "k", fingerprint: OTHER })).toMatchObject(first);
      expect(await jobsInAll()).toBe(3);
    });
  });

  describe("equal content", () => {
    const upload = (digit: string) => ({
      name: "a.bin",
      type: "application/octet-stream",
      bytes: 1,
      sha256: digit.repeat(64),
      blob: `blob-${digit}`,
    });

    it("of one owner is one job while it lives, and a new one after", async () => {
      const job = await opened.accept(ADA, DISTINCT, { input: "1" });
      expect(await opened.submit(ADA, DISTINCT, { input: "1", fingerprint: OTHER })).toMatchObject(
        replayOf(job),
      );
      const [claimed] = (await opened.claim(DISTINCT)).jobs;
      expect(await opened.submit(ADA, DISTINCT, { input: "1" })).toMatchObject(replayOf(job));
      await opened.attempts.settle(claimed as Job, COMPLETED);
      expect(await opened.submit(ADA, DISTINCT, { input: "1" })).toMatchObject(first);
    });

    it("is not equal with another owner, another input or another file", async () => {
      await opened.accept(ADA, DISTINCT, { input: "1", upload: upload("a") });
      expect(await opened.submit(ADA, DISTINCT, { input: "1", upload: upload("a") })).toMatchObject({
        replayed: true,
      });
      expect(await opened.submit(BOB, DISTINCT, { input: "1", upload: upload("a") })).toMatchObject(first);
      expect(await opened.submit(ADA, DISTINCT, { input: "2", upload: upload("a") })).toMatchObject(first);
      expect(await opened.submit(ADA, DISTINCT, { input: "1", upload: upload("b") })).toMatchObject(first);
      expect(await opened.submit(ADA, DISTINCT, { input: "1" })).toMatchObject(first);
    });

    it("under two keys is two jobs, and where the operation does not ask for it too", async () => {
      await opened.accept(ADA, DISTINCT, { input: "1", key: "a" });
      expect(await opened.submit(ADA, DISTINCT, { input: "1", key: "b" })).toMatchObject(first);
      await opened.accept(ADA, ECHO, { input: "1" });
      expect(await opened.submit(ADA, ECHO, { input: "1" })).toMatchObject(first);
    });
  });

  describe("an id that the caller made", () => {
    const put: Partial<SubmitRequest> = { id: ID, idFromCaller: true };

    it("is the job's, and sent again it is the same job", async () => {
      const job = await opened.accept(ADA, ECHO, put);
      expect(job.id).toBe(ID);
      expect(await opened.submit(ADA, ECHO, put)).toMatchObject(replayOf(job));
      await opened.work(ECHO);
      expect(await opened.submit(ADA, ECHO, put)).toMatchObject(replayOf(job));
      expect(await jobsInAll()).toBe(1);
    });

    it("with another request is refused", async () => {
      await opened.accept(ADA, ECHO, put);
      expect(await opened.submit(ADA, ECHO, { ...put, fingerprint: OTHER })).toMatchObject({
        refused: { type: "idempotency-key-reused" },
      });
      expect(await jobsInAll()).toBe(1);
    });

    it("says alone which submissions are the same: a key and equal content have no part in it", async () => {
      const other = "0190b6a0-3a1e-7c3e-8d5f-6a7b8c9d0e20";
      for (const [operation, request] of [
        [ECHO, { key: "k" }],
        [DISTINCT, { input: "1" }],
      ] as const) {
        const posted = await opened.accept(ADA, operation, request);
        const [one, two] = [`${operation.name}-${ID}`, `${operation.name}-${other}`];
        expect((await opened.accept(ADA, operation, { ...request, id: one, idFromCaller: true })).id).toBe(
          one,
        );
        expect((await opened.accept(ADA, operation, { ...request, id: two, idFromCaller: true })).id).toBe(
          two,
        );
        // Nor has the id any part in what the others say.
        expect(await opened.submit(ADA, operation, request)).toMatchObject(replayOf(posted));
      }
      expect(await jobsInAll()).toBe(6);
    });

    it("can't take the place of a job whose id was made here", async () => {
      const job = await opened.accept(ADA, ECHO);
      expect(await opened.submit(ADA, ECHO, { id: job.id, idFromCaller: true })).toMatchObject({
        refused: { type: "idempotency-key-reused" },
      });
    });

    it("is another job with another owner, and neither sees the other's", async () => {
      const job = await opened.accept(ADA, ECHO, put);
      const others = await opened.accept(BOB, SCAN, { ...put, fingerprint: OTHER });
      expect(others.row).not.toBe(job.row);
      expect((await opened.jobs.get(ADA, ID))?.job).toEqual(job);
      expect((await opened.jobs.get(BOB, ID))?.job).toEqual(others);
      expect(opened.jobs.address(ADA.owner, ID)).not.toBe(opened.jobs.address(BOB.owner, ID));
    });
  });

  describe("a cancel", () => {
    it("ends a job that waits", async () => {
      const { id } = await opened.accept(ADA, ECHO);
      const view = await opened.jobs.cancel(ADA, id);
      expect(view).toMatchObject({
        job: { id, status: "canceled" },
        completionAt: null,
        retryAfterSeconds: null,
      });
      expect((await opened.claim(ECHO)).jobs).toEqual([]);
      // Once more it is as it was.
      expect(await opened.jobs.cancel(ADA, id)).toEqual(view);
    });

    it("asks a job that is processed to stop, once", async () => {
      const { id } = await opened.accept(ADA, ECHO);
      await opened.claim(ECHO);
      const view = await opened.jobs.cancel(ADA, id);
      expect(view).toMatchObject({
        job: { status: "processing", cancelRequestedAt: expect.any(Number) },
        position: null,
      });
      expect(await opened.jobs.cancel(ADA, id)).toMatchObject({ job: (view as { job: Job }).job });
    });

    it.each([
      ["completed", COMPLETED],
      ["failed", { kind: "failed", final: true, problem: { type: "no", title: "No", status: 500 } }],
    ] as const)("of a job that is %s is refused, with the job as it stands", async (status, outcome) => {
      const { id } = await opened.accept(ADA, ECHO);
      await opened.work(ECHO, outcome);
      const view = await opened.jobs.get(ADA, id);
      expect(await opened.jobs.cancel(ADA, id)).toEqual({
        refused: expect.objectContaining({
          type: "already-settled",
          status: 409,
          detail: `The job is ${status}.`,
        }),
        retryAfterSeconds: null,
        rate: null,
        view,
      });
      expect(view?.job.status).toBe(status);
    });

    it("of another owner's job, and of none, finds nothing", async () => {
      const job = await opened.accept(ADA, ECHO);
      expect(await opened.jobs.cancel(BOB, job.id)).toBeNull();
      expect(await opened.jobs.cancel(ADA, ID)).toBeNull();
      expect((await opened.jobs.get(ADA, job.id))?.job).toEqual(job);
    });

    it("of an expired job finds what is left of it, for its owner alone", async () => {
      const { id } = await opened.accept(ADA, ECHO);
      await opened.work(ECHO);
      opened.clock.pass(3_600_001);
      await opened.sweep();
      expect(await opened.jobs.cancel(ADA, id)).toMatchObject({
        job: { status: "completed", goneAt: expect.any(Number), result: null },
      });
      expect(await opened.jobs.cancel(BOB, id)).toBeNull();
    });
  });

  describe("a listing", () => {
    const idsOf = async (filter: Parameters<Opened["jobs"]["list"]>[1], caller = ADA) =>
      (await opened.jobs.list(caller, filter)).views.map(({ job }) => job.id);

    it("goes from the newest to the oldest, page by page, and what comes meanwhile moves nothing", async () => {
      const ids: string[] = [];
      for (let count = 0; count < 7; count++) ids.unshift((await opened.accept(ADA, ECHO)).id);
      const pages: string[][] = [];
      for (let after: number | null | undefined; after !== null; ) {
        const page = await opened.jobs.list(ADA, { limit: 3, ...(after === undefined ? {} : { after }) });
        pages.push(page.views.map(({ job }) => job.id));
        after = page.next;
        await opened.accept(ADA, ECHO);
      }
      expect(pages).toEqual([ids.slice(0, 3), ids.slice(3, 6), ids.slice(6)]);
    });

    it("ends with a page that is exactly full", async () => {
      for (let count = 0; count < 4; count++) await opened.accept(ADA, ECHO);
      const page = await opened.jobs.list(ADA, { limit: 2 });
      expect(page.next).not.toBeNull();
      expect((await opened.jobs.list(ADA, { limit: 2, after: page.next as number })).next).toBeNull();
    });

    it("holds the owner's jobs only, each as a look at it shows it", async () => {
      const job = await opened.accept(ADA, ECHO);
      await opened.accept(BOB, ECHO);
      const { views } = await opened.jobs.list(ADA, { limit: 10 });
      expect(views).toHaveLength(1);
      const look = await opened.jobs.get(ADA, job.id);
      expect(views[0]).toMatchObject({ job: look?.job, position: 1, waitingFor: look?.waitingFor });
      expect(await idsOf({ limit: 10 }, callerOf("eve"))).toEqual([]);
    });

    it("can be asked for statuses, operations and a time", async () => {
      const done = await opened.accept(ADA, ECHO);
      await opened.work(ECHO);
      opened.clock.pass(1000);
      const scan = await opened.accept(ADA, SCAN);
      opened.clock.pass(1000);
      const echo = await opened.accept(ADA, ECHO);
      expect(await idsOf({ limit: 10, status: ["completed"] })).toEqual([done.id]);
      expect(await idsOf({ limit: 10, status: ["queued", "completed"] })).toEqual([
        echo.id,
        scan.id,
        done.id,
      ]);
      expect(await idsOf({ limit: 10, operation: ["scan"] })).toEqual([scan.id]);
      expect(await idsOf({ limit: 10, operation: ["echo"], status: ["queued"] })).toEqual([echo.id]);
      expect(await idsOf({ limit: 10, createdFrom: scan.createdAt, createdTo: echo.createdAt })).toEqual([
        scan.id,
      ]);
    });

    it("leaves out what has expired", async () => {
      await opened.accept(ADA, ECHO);
      await opened.work(ECHO);
      opened.clock.pass(3_600_001);
      const young = await opened.accept(ADA, ECHO);
      await opened.sweep();
      expect(await idsOf({ limit: 10 })).toEqual([young.id]);
    });
  });
});

describe("a job's policy", () => {
  afterEach(() => opened.end());
  const URGENT = defineOperation({ name: "urgent", priority: 5 });
  beforeEach(async () => {
    opened = await openLedger({ operations: [URGENT] });
  });

  it("has the operation's priority and the tier's, and what the caller takes off, but never adds", async () => {
    const paid = callerOf("ada", { priority: 10, weight: 3, running: 2 });
    const ask = async (priority: number) => (await opened.accept(paid, URGENT, { priority })).policy;
    expect(await ask(0)).toEqual({ ...URGENT.policy, priority: 15, weight: 3, running: 2 });
    expect((await ask(-7)).priority).toBe(8);
    expect((await ask(50)).priority).toBe(15);
    expect((await opened.accept(callerOf("bob"), URGENT)).policy.priority).toBe(5);
  });

  it("is one object for all jobs that live by the same, which a store keeps once", async () => {
    const [one, two] = [await opened.accept(ADA, URGENT), await opened.accept(ADA, URGENT)];
    expect(two.policy).toBe(one.policy);
    expect((await opened.accept(callerOf("eve", { weight: 2 }), URGENT)).policy).not.toBe(one.policy);
  });

  it("is the definition's from the job's acceptance on, with its delay and its deadline", async () => {
    const job = await opened.accept(ADA, URGENT, {
      delayMs: 500,
      startWithinMs: 9000,
      trace: "t",
      input: "[1]",
    });
    const at = opened.now();
    expect(job).toMatchObject({
      createdAt: at,
      dueAt: at + 500,
      startBy: at + 9000,
      trace: "t",
      input: "[1]",
    });
  });
});
