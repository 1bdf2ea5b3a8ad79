import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { COMPLETED, callerOf, type Opened, openLedger } from "../../test/ledger.ts";
import type { AttemptRef } from "../core/attempts.ts";
import type { Job } from "../core/job.ts";
import { defineOperation } from "../core/operation.ts";
import { readyOperations } from "../core/operations.ts";
import { type Store, StoreUnavailable, type Write } from "../store/store.ts";
import { createLedger } from "./ledger.ts";

const ECHO = defineOperation({ name: "echo", lease: "15s", grace: "5s" });
const ADA = callerOf("ada");
const LOST = { refused: "lease-lost" };

/** One turn of the event loop: what was put off to the next one has happened. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe.each(["memory", "sqlite"] as const)("attempts over the store %s", (kind) => {
  let opened: Opened;
  let stops: string[];
  let onStop: () => void;
  let unlisten: () => void;
  /** What the next settle of the store throws instead of being one. */
  let failure: Error | null = null;

  const failing = (store: Store): Store => ({
    durability: store.durability,
    name: store.name,
    read: (query) => store.read(query),
    listen: (listener) => store.listen(listener),
    close: () => store.close(),
    write(write) {
      const error = failure;
      if ((write as Write).do !== "settle" || error === null) return store.write(write);
      failure = null;
      return Promise.reject(error);
    },
  });
  beforeAll(async () => {
    opened = await openLedger({ operations: [ECHO], kind, between: failing });
  });
  beforeEach(() => {
    stops = [];
    onStop = () => {};
    unlisten = opened.attempts.onStop(({ row, attempt }, why) => {
      stops.push(told({ row, attempt }, why));
      onStop();
    });
  });
  afterEach(() => unlisten());
  afterAll(() => opened.end());

  const told = ({ row, attempt }: AttemptRef, why: string) => `${row}.${attempt} ${why}`;
  const stopped = () => new Promise<void>((resolve) => (onStop = resolve));
  const get = async (id: string) => (await opened.jobs.get(ADA, id))?.job as Job;
  const take = async () => {
    await opened.accept(ADA, ECHO);
    const [job] = (await opened.claim(ECHO)).jobs;
    return job as Job;
  };

  it("a claim hands out the job as it is processed, and a heartbeat renews its lease", async () => {
    const job = await take();
    expect(job).toMatchObject({ status: "processing", attempt: 1, worker: "tester" });
    opened.clock.pass(10_000);
    const kept = await opened.attempts.heartbeat(job, { progress: 40, message: "on it" });
    expect(kept).toEqual({ leaseUntil: expect.any(Number), cancel: false });
    const now = await get(job.id);
    expect(now).toMatchObject({ progress: 40, message: "on it" });
    expect(kept).toMatchObject({ leaseUntil: now.leaseUntil });
    expect(now.leaseUntil).toBeGreaterThanOrEqual((job.leaseUntil as number) + 10_000);
    expect(await opened.attempts.settle(job, COMPLETED)).toEqual({ status: "completed" });
    expect(stops).toEqual([]);
  });

  it("a cancel is told to whoever runs the attempt, once, and with the next heartbeat", async () => {
    const job = await take();
    const hearing = stopped();
    await opened.jobs.cancel(ADA, job.id);
    await hearing;
    await opened.jobs.cancel(ADA, job.id);
    expect(await opened.attempts.heartbeat(job, {})).toMatchObject({ cancel: true });
    expect(await opened.attempts.settle(job, { kind: "canceled" })).toEqual({ status: "canceled" });
    expect(stops).toEqual([told(job, "canceled")]);
  });

  it("a cancel that comes while the claim is being answered is told after the answer", async () => {
    const { id } = await opened.accept(ADA, ECHO);
    const hearing = stopped();
    const claiming = opened.claim(ECHO).then(({ jobs }) => {
      expect(stops).toEqual([]);
      return jobs[0] as Job;
    });
    const canceling = opened.jobs.cancel(ADA, id);
    const job = await claiming;
    expect(await canceling).toMatchObject({ job: { status: "processing" } });
    await hearing;
    expect(stops).toEqual([told(job, "canceled")]);
    await opened.attempts.settle(job, { kind: "canceled" });
  });

  it("an attempt whose lease lapsed is told to be lost, and can change nothing more", async () => {
    const job = await take();
    opened.clock.pass(15_001);
    const hearing = stopped();
    await opened.sweep();
    await hearing;
    expect(stops).toEqual([told(job, "lease-lost")]);
    const before = await get(job.id);
    expect(await opened.attempts.heartbeat(job, { progress: 1 })).toEqual(LOST);
    expect(await opened.attempts.settle(job, COMPLETED)).toEqual(LOST);
    expect(await get(job.id)).toEqual(before);
    await opened.jobs.cancel(ADA, job.id);
  });

  it("an attempt that outlives its grace is told to stop, then to be lost", async () => {
    const job = await take();
    await opened.jobs.cancel(ADA, job.id);
    opened.clock.pass(5001);
    await opened.sweep();
    while (stops.length < 2) await turn();
    expect(stops).toEqual([told(job, "canceled"), told(job, "lease-lost")]);
    expect(await get(job.id)).toMatchObject({ status: "canceled" });
  });

  it("an attempt that another server ended is told to be lost where it runs, and nowhere else", async () => {
    const other = await createLedger({
      store: opened.store,
      operations: readyOperations([ECHO]),
      now: opened.now,
    });
    const elsewhere: string[] = [];
    other.attempts.onStop((ref, why) => elsewhere.push(told(ref, why)));
    const job = await take();
    const hearing = stopped();
    await other.attempts.settle(job, COMPLETED);
    await hearing;
    await turn();
    expect([stops, elsewhere]).toEqual([[told(job, "lease-lost")], []]);
    await other.close();
  });

  it("a settle is not told to be someone else's doing, neither under way nor after", async () => {
    const jobs = [await take(), await take(), await take()] as const;
    const outcomes = [
      COMPLETED,
      { kind: "failed", final: false, problem: { type: "no", title: "No", status: 500 } },
      { kind: "released" },
    ] as const;
    const settled = await Promise.all(
      jobs.map((job, index) => opened.attempts.settle(job, outcomes[index] ?? COMPLETED)),
    );
    expect(settled).toEqual([{ status: "completed" }, { status: "queued" }, { status: "queued" }]);
    await turn();
    expect(stops).toEqual([]);
    for (const job of jobs) await opened.jobs.cancel(ADA, job.id);
  });

  it("a settle is taken once", async () => {
    const job = await take();
    const both = await Promise.all([
      opened.attempts.settle(job, COMPLETED),
      opened.attempts.settle(job, COMPLETED),
    ]);
    expect(both).toEqual([{ status: "completed" }, LOST]);
  });

  it("a settle that the store could not take leaves the attempt open: it may be told to stop, and settle again", async () => {
    const job = await take();
    failure = new StoreUnavailable("The disk is full.");
    await expect(opened.attempts.settle(job, COMPLETED)).rejects.toThrow("The disk is full.");
    const hearing = stopped();
    await opened.jobs.cancel(ADA, job.id);
    await hearing;
    expect(stops).toEqual([told(job, "canceled")]);
    expect(await opened.attempts.settle(job, COMPLETED)).toEqual({ status: "completed" });
  });

  it("a settle of an earlier attempt that lost its lease ends nothing of the present one", async () => {
    const first = await take();
    expect(await opened.attempts.settle(first, { kind: "released" })).toEqual({ status: "queued" });
    const [second] = (await opened.claim(ECHO)).jobs;
    expect(second).toMatchObject({ row: first.row, attempt: 2 });
    expect(await opened.attempts.settle(first, COMPLETED)).toEqual(LOST);
    const hearing = stopped();
    await opened.jobs.cancel(ADA, first.id);
    await hearing;
    expect(stops).toEqual([told(second as Job, "canceled")]);
    await opened.attempts.settle(second as Job, { kind: "canceled" });
  });

  it("who listens no more is told nothing", async () => {
    const job = await take();
    unlisten();
    const others = new Promise<string>((resolve) => {
      opened.attempts.onStop((ref, why) => resolve(told(ref, why)));
    });
    await opened.jobs.cancel(ADA, job.id);
    expect(await others).toBe(told(job, "canceled"));
    expect(stops).toEqual([]);
    await opened.attempts.settle(job, { kind: "canceled" });
  });

  it("a claim that waits is answered with the work that comes, or with nothing when it is withdrawn", async () => {
    const ask = (worker: string) =>
      opened.attempts.claim({
        worker,
        slots: { echo: 1 },
        limit: 1,
        running: 0,
        waitMs: 600_000,
        held: false,
      });
    const waiting = ask("one");
    const { id } = await opened.accept(ADA, ECHO);
    const { jobs } = await waiting;
    expect(jobs.map((job) => job.id)).toEqual([id]);
    await opened.attempts.settle(jobs[0] as Job, COMPLETED);
    const idle = ask("two");
    await opened.attempts.withdraw("two");
    expect((await idle).jobs).toEqual([]);
  });

  it("the last try of a job that lost its workers is handed out alone", async () => {
    const job = await take();
    await opened.attempts.settle(job, { kind: "crashed", detail: "exit 137" });
    opened.clock.pass(60_000);
    const [again] = (await opened.claim(ECHO)).jobs;
    await opened.attempts.settle(again as Job, { kind: "crashed", detail: "exit 137" });
    opened.clock.pass(60_000);
    const busy = { worker: "tester", slots: { echo: 1 }, limit: 1, running: 1, held: false };
    expect(await opened.attempts.claim(busy)).toMatchObject({ jobs: [], drain: true });
    const { jobs } = await opened.claim(ECHO);
    expect(jobs).toMatchObject([{ id: job.id, attempt: 3, crashes: 2 }]);
    await opened.attempts.settle(jobs[0] as Job, COMPLETED);
  });
});
