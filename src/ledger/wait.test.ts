import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { COMPLETED, callerOf, type Opened, openLedger } from "../../test/ledger.ts";
import type { Job } from "../core/job.ts";
import { defineOperation } from "../core/operation.ts";
import type { Query, Store } from "../store/store.ts";

const ECHO = defineOperation({ name: "echo" });
let ADA = callerOf("ada");
let BOB = callerOf("bob");
const LONG_MS = 600_000;

describe.each(["memory", "sqlite"] as const)("waiting for a job over the store %s", (kind) => {
  let opened: Opened;
  let looks: Promise<unknown>[];
  let onLook: () => void;

  // Who waits looks, and looks again once woken: that is how it is seen what woke him.
  const watched = (store: Store): Store => ({
    durability: store.durability,
    name: store.name,
    write: (write) => store.write(write),
    listen: (listener) => store.listen(listener),
    close: () => store.close(),
    read(query) {
      const done = store.read(query);
      if ((query as Query).get === "job") {
        looks.push(done);
        done.then(onLook, onLook);
      }
      return done;
    },
  });
  const looked = (times: number) =>
    new Promise<void>((resolve) => {
      onLook = () => {
        // One turn later whoever looked has seen it.
        if (looks.length >= times) setImmediate(resolve);
      };
    });

  // One store for all, each time with other owners, and nothing left in line.
  let times = 0;
  beforeAll(async () => {
    opened = await openLedger({ operations: [ECHO], kind, between: watched });
  });
  beforeEach(() => {
    looks = [];
    onLook = () => {};
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

  const never = () => new AbortController().signal;
  const wait = (id: string, signal = never(), caller = ADA) => opened.jobs.wait(caller, id, LONG_MS, signal);

  it("answers at once with a job that has settled", async () => {
    const { id } = await opened.accept(ADA, ECHO);
    await opened.work(ECHO);
    expect(await wait(id)).toMatchObject({ job: { id, status: "completed" } });
    expect(looks).toHaveLength(1);
  });

  it.each([
    ["completed", COMPLETED],
    ["failed", { kind: "failed", final: true, problem: { type: "no", title: "No", status: 500 } }],
  ] as const)(
    "answers once the job is %s, and not when it merely starts or reports",
    async (status, outcome) => {
      const { id } = await opened.accept(ADA, ECHO);
      const first = looked(1);
      const waiting = wait(id);
      await first;
      const [job] = (await opened.claim(ECHO)).jobs;
      await opened.attempts.heartbeat(job as Job, { progress: 50 });
      expect(looks).toHaveLength(1);
      await opened.attempts.settle(job as Job, outcome);
      expect(await waiting).toMatchObject({ job: { id, status } });
      expect(looks).toHaveLength(2);
    },
  );

  it("misses no end that comes while it first looks", async () => {
    const { id } = await opened.accept(ADA, ECHO);
    const waiting = wait(id);
    const canceling = opened.jobs.cancel(ADA, id);
    expect(await waiting).toMatchObject({ job: { status: "canceled" } });
    await canceling;
  });

  it("answers everyone who waits for the same job", async () => {
    const { id } = await opened.accept(ADA, ECHO);
    const first = looked(2);
    const waiting = [wait(id), wait(id)];
    await first;
    await opened.jobs.cancel(ADA, id);
    for (const view of await Promise.all(waiting))
      expect(view).toMatchObject({ job: { status: "canceled" } });
  });

  it("goes on for the others when one of them gives up", async () => {
    const { id } = await opened.accept(ADA, ECHO);
    const impatient = new AbortController();
    const first = looked(2);
    const [gone, stays] = [wait(id, impatient.signal), wait(id)];
    await first;
    impatient.abort();
    expect(await gone).toMatchObject({ job: { status: "queued" } });
    await opened.jobs.cancel(ADA, id);
    expect(await stays).toMatchObject({ job: { status: "canceled" } });
  });

  it("answers with the job as it stands when the time is over", async () => {
    const { id } = await opened.accept(ADA, ECHO);
    await opened.claim(ECHO);
    expect(await opened.jobs.wait(ADA, id, 1, never())).toMatchObject({ job: { status: "processing" } });
    expect(await opened.jobs.wait(ADA, id, 0, never())).toMatchObject({ job: { status: "processing" } });
  });

  it("answers with the job as it stands when the caller has gone, also before it began", async () => {
    const { id } = await opened.accept(ADA, ECHO);
    const controller = new AbortController();
    const waiting = wait(id, controller.signal);
    controller.abort();
    expect(await waiting).toMatchObject({ job: { status: "queued" } });
    expect(await wait(id, AbortSignal.abort())).toMatchObject({ job: { status: "queued" } });
  });

  it("finds nothing at once where there is nothing, or it is another owner's", async () => {
    const { id } = await opened.accept(ADA, ECHO);
    expect(await wait("nothing")).toBeNull();
    expect(await wait(id, never(), BOB)).toBeNull();
  });

  it("hears nothing of another owner's job of the same id", async () => {
    const put = { id: "0190b6a0-3a1e-7c3e-8d5f-6a7b8c9d0e1f", idFromCaller: true };
    const { id } = await opened.accept(ADA, ECHO, put);
    await opened.accept(BOB, ECHO, put);
    const first = looked(1);
    const waiting = wait(id, never(), BOB);
    await first;
    await opened.jobs.cancel(ADA, id);
    // The look of someone else comes after whatever that cancel woke.
    await opened.jobs.get(ADA, id);
    expect(looks).toHaveLength(2);
    await opened.jobs.cancel(BOB, id);
    expect(await waiting).toMatchObject({ job: { owner: BOB.owner, status: "canceled" } });
  });
});

it("waiting for a job rejects where the store can't answer", async () => {
  const opened = await openLedger({ operations: [ECHO] });
  const { id } = await opened.accept(ADA, ECHO);
  await opened.store.close();
  const { signal } = new AbortController();
  await expect(opened.jobs.wait(ADA, id, LONG_MS, signal)).rejects.toMatchObject({
    name: "StoreUnavailable",
  });
  await opened.end();
});
