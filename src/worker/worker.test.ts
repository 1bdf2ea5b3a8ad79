// The worker over the real ledger in memory: slots, claims, suspects, shutdown, and a store that goes away.

import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { signal, startWorking, type Working, type WorkingOptions } from "../../test/working.ts";
import { leftoverName } from "../blob/leftover.ts";
import type { Handler, HandlerAttempt } from "../core/handler.ts";
import { defineOperation, type Operation, type OperationOptions } from "../core/operation.ts";
import { StoreUnavailable } from "../store/store.ts";
import { asRegistered } from "./registered.ts";

let working: Working | undefined;
afterEach(async () => {
  await working?.close();
  working = undefined;
});

const operationOf = (name: string, options: Partial<OperationOptions> = {}): Operation =>
  defineOperation({ name, input: {}, retry: { backoff: { baseMs: 0 } }, ...options }) as Operation;

const settledOf = (working: Working) =>
  vi.waitFor(() => expect(working.worker.stats()).toMatchObject({ running: 0, settling: 0 }));

async function open(options: WorkingOptions): Promise<Working> {
  working = await startWorking(options);
  return working;
}

const obedient = (attempt: HandlerAttempt<never>) =>
  new Promise<never>((_, reject) => {
    attempt.signal.addEventListener("abort", () => reject(attempt.signal.reason));
  });

describe("slots", () => {
  it("C1: every job is run once and settled once, whatever else goes on", async () => {
    const operation = operationOf("count");
    const runs = new Map<string, number>();
    const handler: Handler = async (input, attempt) => {
      runs.set(attempt.id, (runs.get(attempt.id) ?? 0) + 1);
      if (attempt.id.charCodeAt(0) % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
      return input;
    };
    const { submit, end, events, worker } = await open({
      handlers: [[operation, { handler, concurrency: 20 }]],
    });
    const ids = await Promise.all(Array.from({ length: 1000 }, (_, n) => submit(operation, n)));
    const jobs = await Promise.all(ids.map(end));
    expect(jobs.map((job) => job.result)).toEqual(ids.map((_, n) => ({ json: `${n}` })));
    expect([...runs.values()].every((count) => count === 1)).toBe(true);
    expect(runs.size).toBe(1000);
    expect(events.filter((event) => event.kind === "completed")).toHaveLength(1000);
    expect(worker.stats()).toMatchObject({ claimed: 1000, settled: 1000, lost: 0 });
  });

  it("are never more than each operation has, nor more than there are in all, and all are used", async () => {
    const [small, large] = [operationOf("small"), operationOf("large")];
    const gates: (() => void)[] = [];
    const now = { small: 0, large: 0 };
    const most = { small: 0, large: 0, both: 0 };
    const handler: Handler = async (_, { operation }) => {
      const name = operation as "small" | "large";
      most[name] = Math.max(most[name], ++now[name]);
      most.both = Math.max(most.both, now.small + now.large);
      await new Promise<void>((resolve) => gates.push(resolve));
      now[name]--;
    };
    const { submit, end } = await open({
      handlers: [
        [small, { handler, concurrency: 2 }],
        [large, { handler, concurrency: 8 }],
      ],
      worker: { concurrency: 7 },
    });
    const ids = await Promise.all(Array.from({ length: 40 }, (_, n) => submit(n % 2 === 0 ? small : large)));
    let over = false;
    const ended = Promise.all(ids.map(end)).then(() => (over = true));
    await vi.waitFor(() => expect(gates).toHaveLength(7));
    while (!over) {
      gates.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await ended;
    expect(most.small).toBeLessThanOrEqual(2);
    expect(most.large).toBeLessThanOrEqual(8);
    expect(most.both).toBe(7);
  });

  it("are 10 in process by default, and bounded by a whole number", async () => {
    const operation = operationOf("work");
    const { worker } = await open({ handlers: [[operation, { handler: () => null }]] });
    expect(worker.stats().operations).toEqual({ work: { running: 0, concurrency: 10 } });
    await expect(
      startWorking({ handlers: [[operation, { handler: () => null, concurrency: 0 }]] }),
    ).rejects.toThrow(TypeError);
  });

  it("are not given to an operation that has no handler, nor a handler to none", async () => {
    await expect(
      startWorking({
        handlers: [[operationOf("known"), { handler: () => null }]],
        worker: { operations: new Map() },
      }),
    ).rejects.toThrow('There is a handler for "known", but no such operation.');
  });
});

describe("claims", () => {
  it("come at once when there is work, and never while there is none", async () => {
    const operation = operationOf("work");
    const claims = vi.fn();
    const { submit, end, worker } = await open({
      handlers: [[operation, { handler: () => null }]],
      between: (attempts) => ({
        ...attempts,
        claim(request) {
          claims(request);
          return attempts.claim(request);
        },
      }),
    });
    await vi.waitFor(() => expect(worker.stats().claimed).toBe(0));
    const before = claims.mock.calls.length;
    for (let n = 0; n < 20; n++) await end(await submit(operation));
    // One for each job, one for each end that may have made room, and one a second beside.
    expect(claims.mock.calls.length - before).toBeLessThan(60);
    expect(claims).toHaveBeenLastCalledWith(
      expect.objectContaining({ worker: "tester", held: true, slots: { work: 10 } }),
    );
  });

  it("come when a job's time has come, by the ledger's clock", async () => {
    const operation = operationOf("work");
    const { submit, end, clock, get } = await open({ handlers: [[operation, { handler: () => "done" }]] });
    const soon = await submit(operation, null, { delayMs: 50 });
    const later = await submit(operation, null, { delayMs: 3_600_000 });
    expect((await end(soon)).status).toBe("completed");
    expect((await get(later)).status).toBe("queued");
    clock.pass(3_600_000);
    expect((await end(later)).status).toBe("completed");
  });

  it("are tried again when the store was away", async () => {
    const operation = operationOf("work");
    let away = 3;
    const { submit, end, logs } = await open({
      handlers: [[operation, { handler: () => "done" }]],
      between: (attempts) => ({
        ...attempts,
        async claim(request) {
          if (away-- > 0) throw new StoreUnavailable("away");
          return attempts.claim(request);
        },
      }),
    });
    expect((await end(await submit(operation))).status).toBe("completed");
    expect(logs.filter((line) => line.level === "warn")).toHaveLength(3);
  });
});

describe("outcomes", () => {
  it("C1: are recorded once the store is back, and then once", async () => {
    const operation = operationOf("work");
    let away = 3;
    let runs = 0;
    const { submit, end, events } = await open({
      handlers: [[operation, { handler: () => ++runs }]],
      between: (attempts) => ({
        ...attempts,
        async settle(ref, outcome) {
          if (away-- > 0) throw new StoreUnavailable("away");
          return attempts.settle(ref, outcome);
        },
      }),
    });
    expect(await end(await submit(operation))).toMatchObject({
      status: "completed",
      attempt: 1,
      result: { json: "1" },
    });
    expect(events.filter((event) => event.kind === "completed")).toHaveLength(1);
  });

  it("C2: whose reply was lost count once, though they are sent again", async () => {
    const operation = operationOf("work");
    let lost = 1;
    const it = await open({
      handlers: [[operation, { handler: () => "once" }]],
      between: (attempts) => ({
        ...attempts,
        async settle(ref, outcome) {
          const answer = await attempts.settle(ref, outcome);
          if (lost-- > 0) throw new StoreUnavailable("the reply was lost");
          return answer;
        },
      }),
    });
    const job = await it.end(await it.submit(operation));
    await settledOf(it);
    expect(await it.get(job.id)).toEqual(job);
  });

  it("that the store does not take yet are not piled up without end", async () => {
    const operation = operationOf("work");
    const back = signal();
    const { submit, end, worker } = await open({
      handlers: [[operation, { handler: () => null, concurrency: 3 }]],
      between: (attempts) => ({
        ...attempts,
        async settle(ref, outcome) {
          await back.promise;
          return attempts.settle(ref, outcome);
        },
      }),
    });
    const ids = await Promise.all(Array.from({ length: 50 }, () => submit(operation)));
    await vi.waitFor(() => expect(worker.stats().settling).toBe(6));
    expect(worker.stats().claimed).toBe(6);
    back.resolve();
    await Promise.all(ids.map(end));
  });
});

describe("C7: a job that lost its worker", () => {
  // Loses `times` workers, as if each had been killed.
  async function crash({ ledger, clock, get, when }: Working, id: string, times: number): Promise<void> {
    for (let crashes = 1; crashes <= times; crashes++) {
      const { operation, row } = await get(id);
      const claimed = await ledger.attempts.claim({
        worker: "dead",
        slots: { [operation]: 1 },
        limit: 1,
        running: 0,
        held: false,
      });
      expect(claimed.jobs.map((job) => job.id)).toEqual([id]);
      await ledger.attempts.settle({ row, attempt: crashes }, { kind: "crashed", detail: "killed" });
      const job = await when(id, (job) => job.crashes === crashes);
      clock.pass(job.dueAt - clock.moment().now);
    }
  }

  it("has its last try alone, and the others go on after it", async () => {
    const operation = operationOf("work");
    const together: string[][] = [];
    const running = new Set<string>();
    const gates = new Map<string, () => void>();
    const handler: Handler = async (input) => {
      running.add(input as string);
      together.push([...running].sort());
      await new Promise<void>((resolve) => gates.set(input as string, resolve));
      running.delete(input as string);
    };
    const it = await open({ handlers: [[operation, { handler, concurrency: 5 }]], start: false });
    const suspect = await it.submit(operation, "suspect");
    await crash(it, suspect, 2);
    const innocents = await Promise.all(["a", "b", "c"].map((name) => it.submit(operation, name)));
    it.worker.start();
    await vi.waitFor(() => expect(gates.has("suspect")).toBe(true));
    const late = await it.submit(operation, "d");
    // Time for a mistake: the worker was told of new work and has four free slots.
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(together).toEqual([["suspect"]]);
    gates.get("suspect")?.();
    expect(await it.end(suspect)).toMatchObject({ status: "completed", attempt: 3, crashes: 2 });
    for (const name of ["a", "b", "c", "d"]) {
      await vi.waitFor(() => expect(gates.has(name)).toBe(true));
      gates.get(name)?.();
    }
    await Promise.all([...innocents, late].map(it.end));
  });

  it("is tried beside others first, and for its last try waits until those that run have ended", async () => {
    const operation = operationOf("work");
    const gates = new Map<string, () => void>();
    const running = new Set<string>();
    const seen: string[][] = [];
    const handler: Handler = async (input) => {
      running.add(input as string);
      seen.push([...running]);
      await new Promise<void>((resolve) => gates.set(input as string, resolve));
      running.delete(input as string);
    };
    const it = await open({ handlers: [[operation, { handler, concurrency: 5 }]] });
    const first = await it.submit(operation, "first");
    await vi.waitFor(() => expect(gates.has("first")).toBe(true));
    const suspect = await it.submit(operation, "suspect");
    await vi.waitFor(() => expect(gates.has("suspect")).toBe(true));
    const { row } = await it.get(suspect);
    await it.ledger.attempts.settle({ row, attempt: 1 }, { kind: "crashed", detail: "killed" });
    gates.get("suspect")?.();
    gates.delete("suspect");
    it.clock.pass(20_000);
    await vi.waitFor(() => expect(gates.has("suspect")).toBe(true));
    expect(seen.at(-1)?.sort()).toEqual(["first", "suspect"]);
    await it.ledger.attempts.settle({ row, attempt: 2 }, { kind: "crashed", detail: "killed" });
    gates.get("suspect")?.();
    gates.delete("suspect");
    it.clock.pass(20_000);
    // Time for a mistake: the job is due, and the worker has four free slots.
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(gates.has("suspect")).toBe(false);
    gates.get("first")?.();
    await vi.waitFor(() => expect(gates.has("suspect")).toBe(true));
    expect(seen.at(-1)).toEqual(["suspect"]);
    gates.get("suspect")?.();
    await it.end(suspect);
    const next = await it.submit(operation, "next");
    await vi.waitFor(() => expect(gates.has("next")).toBe(true));
    gates.get("next")?.();
    await Promise.all([first, next].map(it.end));
  });

  it("need not be alone where its operation is isolated", () => {
    const operation = operationOf("work");
    expect(asRegistered(operation, { handler: () => null }).policy.isolated).toBe(false);
    expect(asRegistered(operation, { module: "/handler.js", isolate: "thread" }).policy.isolated).toBe(true);
  });
});

describe("G3: stopping", () => {
  it("claims no more, tells the handlers, keeps their checkpoints and counts no failure", async () => {
    const operation = operationOf("work");
    const reasons: string[] = [];
    const handler: Handler<unknown, unknown, never> = (_, attempt) =>
      obedient(attempt).catch(async (interruption) => {
        reasons.push(interruption.reason);
        await attempt.checkpoint({ row: 60 } as never);
        throw interruption;
      });
    const it = await open({ handlers: [[operation, { handler: handler as Handler, concurrency: 2 }]] });
    const ids = await Promise.all([1, 2, 3].map(() => it.submit(operation)));
    await vi.waitFor(() => expect(it.worker.stats().running).toBe(2));
    await it.worker.stop({ graceMs: 10_000 });
    const jobs = await Promise.all(ids.map(it.get));
    for (const job of jobs)
      expect(job).toMatchObject({
        status: "queued",
        failures: 0,
        crashes: 0,
        worker: null,
        leaseUntil: null,
      });
    expect(jobs.map((job) => job.checkpoint)).toEqual(['{"row":60}', '{"row":60}', null]);
    expect(reasons).toEqual(["shutting-down", "shutting-down"]);
    expect(it.worker.stats()).toMatchObject({ running: 0, settling: 0, claimed: 2 });
  });

  it("lets those finish that can within the grace, and takes their results", async () => {
    const operation = operationOf("work");
    const gate = signal();
    const it = await open({
      handlers: [[operation, { handler: () => gate.promise.then(() => "finished") }]],
    });
    const id = await it.submit(operation);
    await it.until(id, "processing");
    const stopped = it.worker.stop({ graceMs: 10_000 });
    gate.resolve();
    await stopped;
    expect(await it.get(id)).toMatchObject({ status: "completed", result: { json: '"finished"' } });
  });

  it("gives back what is deaf, whose late result has no effect", async () => {
    const operation = operationOf("work");
    const gate = signal();
    const it = await open({
      handlers: [[operation, { handler: () => gate.promise.then(() => "too late") }]],
    });
    const id = await it.submit(operation);
    await it.until(id, "processing");
    await it.worker.stop({ graceMs: 50 });
    const given = await it.get(id);
    expect(given).toMatchObject({ status: "queued", attempt: 1, failures: 0, crashes: 0 });
    expect(it.worker.stats().abandoned).toBe(1);
    gate.resolve();
    await vi.waitFor(() => expect(it.worker.stats().abandoned).toBe(0));
    expect(await it.get(id)).toEqual(given);
  });

  it("gives back what is claimed while it stops", async () => {
    const operation = operationOf("work");
    const [asked, answer] = [signal(), signal()];
    let runs = 0;
    const it = await open({
      handlers: [[operation, { handler: () => ++runs }]],
      between: (attempts) => ({
        ...attempts,
        async claim(request) {
          const claimed = await attempts.claim(request);
          if (claimed.jobs.length > 0) {
            asked.resolve();
            await answer.promise;
          }
          return claimed;
        },
      }),
    });
    const id = await it.submit(operation);
    await asked.promise;
    const stopped = it.worker.stop({ graceMs: 10_000 });
    answer.resolve();
    await stopped;
    expect(await it.get(id)).toMatchObject({ status: "queued", attempt: 1, failures: 0, crashes: 0 });
    expect(runs).toBe(0);
  });

  it("ends also where nothing was started, and only once", async () => {
    const it = await open({ handlers: [[operationOf("work"), { handler: () => null }]], start: false });
    const stopped = it.worker.stop({ graceMs: 0 });
    expect(it.worker.stop({ graceMs: 10_000 })).toBe(stopped);
    await stopped;
    it.worker.start();
    const id = await it.submit(operationOf("work"));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await it.get(id)).status).toBe("queued");
  });
});

it("scratch directories of a dead worker are removed at the start, those of others are not", async () => {
  const it = await open({ handlers: [[operationOf("work"), { handler: () => null }]], start: false });
  const mine = leftoverName();
  const [dead, old, foreign] = [
    mine.replace(/-\d+-/, "-999999999-"),
    mine.slice(0, -1).concat(mine.endsWith("0") ? "1" : "0"),
    "my-own-folder",
  ];
  for (const name of [dead, old, mine, foreign]) {
    await mkdir(join(it.scratch, name), { recursive: true });
    await writeFile(join(it.scratch, name, "x"), "x");
  }
  await utimes(join(it.scratch, old), 1, 1);
  it.worker.start();
  const left = async () => expect((await readdir(it.scratch)).sort()).toEqual([mine, foreign].sort());
  await vi.waitFor(left, { timeout: 10_000 });
});
