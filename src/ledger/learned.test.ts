import { describe, expect, it, onTestFinished } from "vitest";
import { aJob } from "../../test/views.ts";
import { openMemory } from "../store/memory.ts";
import { type Store, StoreUnavailable, type Write } from "../store/store.ts";
import { createEstimates } from "./estimates.ts";

const START = Date.UTC(2026, 0, 1);

function open(store: Store = openMemory()) {
  let at = START;
  const estimates = createEstimates(
    store,
    () => at,
    (error) => expect.unreachable(String(error)),
  );
  onTestFinished(() => estimates.close());
  return { ...estimates, store, pass: (ms: number) => (at += ms) };
}

/** The end of a job that is the next and finds a worker, from now. */
const runOf = ({ outlook }: ReturnType<typeof open>, operation = "echo") =>
  outlook(operation, 1, 0).remainingMs;

/** Within the width of the histogram's buckets, and the spread of few runs. */
function expectAbout(value: number, right: number, share = 0.1) {
  expect(value).toBeGreaterThan(right * (1 - share));
  expect(value).toBeLessThan(right * (1 + share));
}

describe("the estimate of an operation", () => {
  it("goes by its first run at once, and by no other operation's", () => {
    const one = open();
    const blind = runOf(one);
    one.learnRun("echo", 60_000);
    expectAbout(runOf(one), 60_000, 0.5);
    expect(runOf(one, "scan")).toBe(blind);
  });

  it("tells a queued job when it will be done and when to look, and a settled one nothing", () => {
    const one = open();
    for (let count = 0; count < 8; count++) one.learnRun("echo", 60_000);
    const job = aJob({ operation: "echo", status: "queued", createdAt: START, dueAt: START });
    const view = one.view({ job, position: 1, waitingFor: "turn" });
    expectAbout((view.completionAt as number) - START, 60_000);
    expect(view.retryAfterSeconds).toBeGreaterThan(1);
    const settled = { ...job, status: "completed" } as const;
    expect(one.view({ job: settled, position: null, waitingFor: null })).toEqual({
      job: settled,
      position: null,
      waitingFor: null,
      completionAt: null,
      retryAfterSeconds: null,
    });
  });

  it("counts the runs ahead by the slots that work them", () => {
    const waitOf = (slots: number) => {
      const one = open();
      for (let count = 0; count < 8; count++) one.learnRun("echo", 10_000);
      one.learnSlots("echo", 0, slots);
      return one.outlook("echo", 20, 0).waitMs;
    };
    expectAbout(waitOf(1), 195_000);
    expectAbout(waitOf(5), 39_000);
  });

  it("counts the slots of other processes by what runs in them", () => {
    const one = open();
    for (let count = 0; count < 8; count++) one.learnRun("echo", 10_000);
    for (const row of [1, 2, 3, 4]) one.learnRunning("echo", row, true);
    expectAbout(one.outlook("echo", 8, 0).waitMs, (7.5 * 10_000) / 4);
    one.learnRunning("echo", 2, false);
    expect(one.outlook("echo", 1, 0).waitMs).toBe(0);
    expect(one.outlook("echo", 2, 0).waitMs).toBeGreaterThan(0);
    // An end that is told twice, or whose beginning was not heard, frees no slot.
    one.learnRunning("echo", 2, false);
    one.learnRunning("echo", 99, false);
    expect(one.outlook("echo", 2, 0).waitMs).toBeGreaterThan(0);
  });

  it("has a job begin at once while there are free slots for all who wait", () => {
    const one = open();
    one.learnRun("echo", 10_000);
    one.learnSlots("echo", 3, 1);
    expect([3, 4].map((position) => one.outlook("echo", position, 0).waitMs > 0)).toEqual([false, true]);
  });

  it("adds the delay", () => {
    const one = open();
    expect(one.outlook("echo", 1, 5000).waitMs).toBe(5000);
  });

  it("goes by how fast its jobs were settled, as long as no run is known", () => {
    const one = open();
    for (let count = 0; count < 120; count++) {
      one.pass(500);
      one.learnSettled("echo");
    }
    // Two a second, so a hundred are settled in fifty.
    one.learnSlots("echo", 0, 1);
    expectAbout(one.outlook("echo", 100, 0).waitMs, 50_000);
  });

  it("takes an hour that nobody looked at for an hour, not for a moment", () => {
    const one = open();
    one.learnSlots("echo", 0, 1);
    for (let count = 0; count < 3600; count++) {
      one.pass(1000);
      one.learnSettled("echo");
    }
    expectAbout(one.outlook("echo", 60, 0).waitMs, 60_000);
  });
});

describe("what two ledgers learn", () => {
  it("comes together in the store they share", async () => {
    const store = openMemory();
    const [one, other] = [open(store), open(store)];
    for (let count = 0; count < 100; count++) one.learnRun("echo", 60_000);
    const blind = runOf(other);
    await other.load();
    expect(runOf(other)).toBe(blind);
    await one.share();
    await other.load();
    expectAbout(runOf(other), 60_000);
    // What the other adds since weighs with it, here and there.
    for (let count = 0; count < 400; count++) other.learnRun("echo", 6000);
    await other.share();
    for (const each of [one, other, open(store)]) {
      await each.load();
      expectAbout(runOf(each), 6000);
    }
  });

  it("is handed over once: what is not new is not written again", async () => {
    const one = open();
    one.learnRun("echo", 1000);
    await one.share();
    const kept = await one.store.read({ get: "durations" });
    await one.share();
    expect(await one.store.read({ get: "durations" })).toEqual(kept);
    expect(Object.keys(kept)).toEqual(["echo"]);
  });

  it("is kept for the next time where the store could not take it", async () => {
    const inner = openMemory();
    let isDown = true;
    const store: Store = {
      ...inner,
      write: (write) =>
        isDown && (write as Write).do === "learn"
          ? Promise.reject(new StoreUnavailable("The disk is full."))
          : inner.write(write),
    };
    const one = open(store);
    for (let count = 0; count < 50; count++) one.learnRun("echo", 60_000);
    await expect(one.share()).rejects.toThrow("The disk is full.");
    expect(await store.read({ get: "durations" })).toEqual({});
    isDown = false;
    await one.share();
    const other = open(store);
    await other.load();
    expectAbout(runOf(other), 60_000);
  });
});

describe("the seconds until there is room", () => {
  it("are five where nothing is known", () => {
    expect(open().roomSeconds("echo")).toBe(5);
  });

  it("are what one settle takes, at least one", () => {
    const [fast, steady] = [open(), open()];
    for (let count = 0; count < 600; count++) {
      fast.pass(100);
      fast.learnSettled("echo");
      steady.pass(8000);
      steady.learnSettled("echo");
    }
    expect(fast.roomSeconds("echo")).toBe(1);
    expect(steady.roomSeconds("echo")).toBeGreaterThanOrEqual(8);
    expect(steady.roomSeconds("echo")).toBeLessThanOrEqual(9);
  });

  it("are never more than a minute", () => {
    const one = open();
    one.learnSettled("echo");
    for (const ms of [3_600_000, 86_400_000]) {
      one.pass(ms);
      expect(one.roomSeconds("echo")).toBe(60);
    }
  });
});
