// What a handler is given, and what becomes of what it gives, throws or leaves undone: over the real ledger in memory.

import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { CALLER, signal, startWorking, type Working } from "../../test/working.ts";
import {
  Failure,
  type Handler,
  type HandlerAttempt,
  Interruption,
  type StoredFile,
} from "../core/handler.ts";
import { defineOperation, type Operation, type OperationOptions } from "../core/operation.ts";
import { StoreUnavailable } from "../store/store.ts";

let working: Working | undefined;
afterEach(async () => {
  await working?.close();
  working = undefined;
});

const anything = (options: Partial<OperationOptions> = {}): Operation =>
  defineOperation({ name: "work", input: {}, retry: { backoff: { baseMs: 0 } }, ...options }) as Operation;

async function work(
  handler: Handler<never, unknown, never>,
  options: Partial<OperationOptions> = {},
  more: Partial<Parameters<typeof startWorking>[0]> = {},
): Promise<Working & { run(input?: unknown, upload?: StoredFile): Promise<string>; operation: Operation }> {
  const operation = anything(options);
  working = await startWorking({ handlers: [[operation, { handler: handler as Handler }]], ...more });
  const { submit } = working;
  return {
    ...working,
    operation,
    run: (input, upload) => submit(operation, input, upload === undefined ? {} : { upload }),
  };
}

/** Never ends, whatever its signal says. */
const deaf = () => new Promise<never>(() => {});

/** Ends when its signal fires, with the signal's reason. */
const obedient = (attempt: HandlerAttempt) =>
  new Promise<never>((_, reject) => {
    attempt.signal.addEventListener("abort", () => reject(attempt.signal.reason));
  });

describe("the input", () => {
  it("is what the operation's schema makes of the request", async () => {
    const seen: unknown[] = [];
    const { run, end } = await work((input) => void seen.push(input), {
      input: z.object({ day: z.iso.date().transform((day) => new Date(day)), size: z.number().default(3) }),
    });
    await end(await run({ day: "2026-01-02" }));
    expect(seen).toEqual([{ day: new Date("2026-01-02"), size: 3 }]);
  });

  it("may be made by a schema that takes its time", async () => {
    const { run, end } = await work((input: { n: number }) => input.n, {
      input: z.object({ n: z.number().transform(async (n) => n * 2) }),
    });
    expect((await end(await run({ n: 21 }))).result).toEqual({ json: "42" });
  });

  it("fails the job for good where it no longer fits the schema", async () => {
    const { run, end } = await work(() => 1, { input: z.object({ n: z.number() }) });
    const job = await end(await run({ n: "accepted under an earlier definition" }));
    expect(job).toMatchObject({
      status: "failed",
      failures: 1,
      problem: { type: "invalid-input", status: 422 },
    });
  });
});

describe("the result", () => {
  it.each([
    ["an object", () => ({ pages: 12 }), '{"pages":12}'],
    ["a promise of it", async () => [1, 2], "[1,2]"],
    // biome-ignore lint/suspicious/noThenProperty: a thenable is what is tested
    ["a foreign thenable", () => ({ then: (ok: (value: number) => void) => ok(7) }), "7"],
    ["nothing", () => undefined, "null"],
    ["a date, as JSON has it", () => new Date(0), '"1970-01-01T00:00:00.000Z"'],
  ])("may be %s", async (_, handler, json) => {
    const { run, end } = await work(handler as Handler);
    expect(await end(await run())).toMatchObject({
      status: "completed",
      result: { json },
      files: [],
      progress: 100,
    });
  });

  const deep = () => {
    let value: unknown = null;
    for (let level = 0; level < 65; level++) value = [value];
    return value;
  };
  const circle: { self?: unknown } = {};
  circle.self = circle;
  it.each([
    ["what JSON can't say", () => 1n, /BigInt/],
    ["a function", () => () => 1, /function/],
    ["a circle", () => circle, /circular/],
    ["more than 1 MiB of JSON", () => "x".repeat(1024 * 1024), /larger than 1048576 bytes.*attempt\.save/],
    ["more than 1 MiB in UTF-8", () => "é".repeat(600_000), /larger than/],
    ["65 levels", deep, /deeper than 64/],
    ["4,000 levels", () => JSON.parse("[".repeat(4000) + "]".repeat(4000)), /deeper than 64/],
  ])("is refused for good where it is %s", async (_, handler, detail) => {
    const { run, end } = await work(handler as Handler);
    const job = await end(await run());
    expect(job).toMatchObject({
      status: "failed",
      attempt: 1,
      problem: { type: "invalid-result", status: 500 },
    });
    expect(job.problem?.detail).toMatch(detail);
  });

  it("is refused for good where it is not what the output schema asks for", async () => {
    const { run, end } = await work(((input: unknown) => input) as Handler, {
      output: z.object({ pages: z.number() }),
    });
    expect((await end(await run({ pages: 3 }))).result).toEqual({ json: '{"pages":3}' });
    const job = await end(await run({ pages: "three" }));
    expect(job).toMatchObject({ status: "failed", attempt: 1, problem: { type: "invalid-result" } });
    expect(job.problem?.errors).toMatchObject([{ pointer: "/pages" }]);
  });

  it("may be as large and as deep as the limits are", async () => {
    const json = `${"[".repeat(64)}"${"x".repeat(1024 * 1024 - 130)}"${"]".repeat(64)}`;
    const { run, end } = await work(() => JSON.parse(json));
    expect((await end(await run())).result).toEqual({ json });
  });
});

describe("what a handler throws", () => {
  it("is tried again while attempts are left, and then is the problem", async () => {
    let runs = 0;
    const { run, end } = await work(
      () => {
        throw new Error(`no luck ${++runs}`);
      },
      { retry: { attempts: 3, backoff: { baseMs: 0 } } },
    );
    const job = await end(await run());
    expect(runs).toBe(3);
    expect(job).toMatchObject({ status: "failed", attempt: 3, failures: 3, crashes: 0 });
    expect(job.problem).toEqual({
      type: "attempt-failed",
      title: "The work failed",
      status: 500,
      detail: "no luck 3",
    });
  });

  it("ends the job at once where it is a Failure, with all that it says", async () => {
    const { run, end } = await work(async () => {
      throw new Failure("No such month.", {
        status: 422,
        type: "no-month",
        extensions: { month: 13, status: 200 },
      });
    });
    const job = await end(await run());
    expect(job).toMatchObject({ status: "failed", attempt: 1 });
    expect(job.problem).toMatchObject({ type: "no-month", status: 422, detail: "No such month.", month: 13 });
  });

  it("is known as a Failure also where it comes from another copy of the package", async () => {
    const { run, end } = await work(() => {
      throw Object.assign(new Error("Final."), {
        name: "Failure",
        status: 418,
        type: "teapot",
        extensions: {},
      });
    });
    expect(await end(await run())).toMatchObject({ attempt: 1, problem: { type: "teapot", status: 418 } });
  });

  it("may be anything at all", async () => {
    const thrown = [
      undefined,
      null,
      "text",
      {
        toString: () => {
          throw new Error("no text");
        },
      },
      new Error("x".repeat(9000)),
      Object.defineProperty(new Error("x"), "name", {
        get() {
          throw new Error("no name");
        },
      }),
    ];
    const { run, end } = await work(
      ((at: number) => {
        throw thrown[at];
      }) as Handler<never>,
      { retry: { attempts: 1 } },
    );
    for (const at of thrown.keys()) {
      const { problem } = await end(await run(at));
      expect(problem).toMatchObject({ type: "attempt-failed" });
      expect((problem?.detail ?? "").length).toBeLessThan(2100);
    }
  });

  it("does not reach other handlers", async () => {
    const go = signal();
    const { run, end } = await work((async (input: string) => {
      await go.promise;
      if (input === "throw") throw new Failure("mine alone");
      return input;
    }) as Handler<never>);
    const ids = await Promise.all([run("throw"), run("a"), run("throw"), run("b")]);
    go.resolve();
    const statuses = (await Promise.all(ids.map(end))).map((job) => job.status);
    expect(statuses).toEqual(["failed", "completed", "failed", "completed"]);
  });
});

describe("progress", () => {
  it("is told at once, then a few times a second, and the last is never lost", async () => {
    const told = vi.fn();
    const { run, end, get } = await work(
      async (_, attempt) => {
        for (let percent = 1; percent <= 90; percent++) {
          attempt.progress(percent, `Page ${percent}`);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        throw new Failure("stopped at 90");
      },
      {},
      {
        between: (attempts) => ({
          ...attempts,
          heartbeat(ref, beat) {
            told(beat.progress);
            return attempts.heartbeat(ref, beat);
          },
        }),
      },
    );
    const id = await run();
    await end(id);
    const percents = told.mock.calls.map(([percent]) => percent);
    expect(percents[0]).toBe(1);
    expect(percents.at(-1)).toBe(90);
    expect(percents.length).toBeLessThan(20);
    expect(await get(id)).toMatchObject({ progress: 90, message: "Page 90" });
  });

  it("keeps within 0 and 100, and may be unknown", async () => {
    const next = [signal(), signal(), signal()];
    const { run, when } = await work(async (_, { progress }) => {
      progress(-5, "begun");
      await next[0]?.promise;
      progress(Number.NaN);
      await next[1]?.promise;
      progress(1e9, "nearly");
      await next[2]?.promise;
    });
    const id = await run();
    await when(id, (job) => job.progress === 0 && job.message === "begun");
    next[0]?.resolve();
    await when(id, (job) => job.progress === null && job.message === "begun");
    next[1]?.resolve();
    await when(id, (job) => job.progress === 100 && job.message === "nearly" && job.status === "processing");
    next[2]?.resolve();
  });
});

describe("checkpoints", () => {
  it("are what the next attempt resumes from, and durable when they resolve", async () => {
    const seen: unknown[] = [];
    const { run, end, get } = await work((async (_: unknown, attempt: HandlerAttempt<{ row: number }>) => {
      seen.push(attempt.resume);
      if (attempt.number === 2) return "done";
      await attempt.checkpoint({ row: 60 });
      seen.push((await get(attempt.id)).checkpoint);
      throw new Error("killed at 60");
    }) as Handler<never, unknown, never>);
    expect(await end(await run())).toMatchObject({ status: "completed", attempt: 2, checkpoint: null });
    expect(seen).toEqual([undefined, '{"row":60}', { row: 60 }]);
  });

  it("C2: are refused with lease-lost once the attempt is another's, and nothing of it counts", async () => {
    const [running, outcome] = [signal(), signal<unknown>()];
    const lost = signal();
    const { run, ledger, end, get, worker } = await work(async (_, attempt) => {
      if (attempt.number > 1) return "second";
      running.resolve();
      await lost.promise;
      await attempt.checkpoint({ from: "the past" } as never).catch(outcome.resolve);
      attempt.progress(99, "from the past");
      return "first";
    });
    const id = await run();
    await running.promise;
    const { row } = await get(id);
    await ledger.attempts.settle({ row, attempt: 1 }, { kind: "released" });
    expect(await end(id)).toMatchObject({ attempt: 2, result: { json: '"second"' } });
    lost.resolve();
    expect(await outcome.promise).toMatchObject({ name: "Interruption", reason: "lease-lost" });
    await vi.waitFor(() => expect(worker.stats()).toMatchObject({ running: 0, lost: 1 }));
    expect(await get(id)).toMatchObject({ result: { json: '"second"' }, checkpoint: null, message: null });
  });

  it("wait for a store that is away", async () => {
    let away = 2;
    const { run, end } = await work(
      async (_, attempt) => {
        if (attempt.number === 1) await attempt.checkpoint("kept" as never);
        if (attempt.number === 1) throw new Error("again");
        return attempt.resume;
      },
      {},
      {
        between: (attempts) => ({
          ...attempts,
          async heartbeat(ref, beat) {
            if (away-- > 0) throw new StoreUnavailable("away");
            return attempts.heartbeat(ref, beat);
          },
        }),
      },
    );
    expect((await end(await run())).result).toEqual({ json: '"kept"' });
  });

  it("must be JSON", async () => {
    const { run, end } = await work(
      async (_, attempt) => {
        await attempt.checkpoint(1n as never);
      },
      { retry: { attempts: 1 } },
    );
    expect((await end(await run())).problem?.detail).toMatch(/checkpoint can't be written as JSON/);
  });
});

describe("cancel", () => {
  it("C8: fires the signal, and the job is canceled when the handler stops", async () => {
    const reasons: unknown[] = [];
    const { run, until, cancel, end } = await work((_, attempt) => {
      attempt.signal.addEventListener("abort", () => reasons.push(attempt.signal.reason.reason));
      return obedient(attempt);
    });
    const id = await run();
    await until(id, "processing");
    await cancel(id);
    expect(await end(id)).toMatchObject({ status: "canceled", failures: 0, attempt: 1 });
    expect(reasons).toEqual(["canceled"]);
  });

  it("C8: of a deaf handler takes effect when its grace is over, and its late result none", async () => {
    const late = signal();
    const { run, until, cancel, end, get, worker } = await work(() => late.promise, { grace: 50 });
    const id = await run();
    await until(id, "processing");
    await cancel(id);
    const canceled = await end(id);
    expect(canceled.status).toBe("canceled");
    await vi.waitFor(() => expect(worker.stats()).toMatchObject({ running: 0, abandoned: 1 }));
    late.resolve();
    await vi.waitFor(() => expect(worker.stats().abandoned).toBe(0));
    expect(await get(id)).toEqual(canceled);
  });

  it("C8: that races the result has the one outcome that came first", async () => {
    const go = signal();
    const { run, until, cancel, end } = await work(async () => {
      await go.promise;
      return "in time";
    });
    const id = await run();
    await until(id, "processing");
    await cancel(id);
    go.resolve();
    expect(await end(id)).toMatchObject({ status: "completed", result: { json: '"in time"' } });
  });

  it("is seen by a handler that looks at its signal only later", async () => {
    const go = signal();
    const { run, until, cancel, end } = await work(async (_, attempt) => {
      await go.promise;
      attempt.signal.throwIfAborted();
      return "not seen";
    });
    const id = await run();
    await until(id, "processing");
    await cancel(id);
    await new Promise((resolve) => setImmediate(resolve));
    go.resolve();
    expect(await end(id)).toMatchObject({ status: "canceled" });
  });
});

describe("the run limit", () => {
  it("C6: fires the signal; the attempt has timed out and is tried again", async () => {
    const reasons: unknown[] = [];
    const { run, end } = await work(
      async (_, attempt) => {
        if (attempt.number === 2) return "second";
        return obedient(attempt).catch((reason) => {
          reasons.push(reason.reason);
          throw reason;
        });
      },
      { timeout: 50 },
    );
    expect(await end(await run())).toMatchObject({ status: "completed", attempt: 2, failures: 1 });
    expect(reasons).toEqual(["time-up"]);
  });

  it("C6: ends a deaf handler without waiting for it, and frees its slot", async () => {
    const { run, end, worker } = await work(
      ((input: string) => (input === "deaf" ? deaf() : "next")) as Handler<never>,
      { timeout: 50, grace: 20, retry: { attempts: 1 } },
      { worker: { concurrency: 1 } },
    );
    const [first, second] = [await run("deaf"), await run("next")];
    expect(await end(first)).toMatchObject({ status: "failed", problem: { type: "timed-out", status: 504 } });
    expect((await end(second)).status).toBe("completed");
    expect(worker.stats().abandoned).toBe(1);
  });

  it("counts a result that comes within the grace", async () => {
    const { run, end } = await work(
      async (_, attempt) => {
        await obedient(attempt).catch(() => {});
        return "just in time";
      },
      { timeout: 30 },
    );
    expect(await end(await run())).toMatchObject({ status: "completed", result: { json: '"just in time"' } });
  });
});

describe("files", () => {
  it("are the result where the handler gives one back, and are listed beside it otherwise", async () => {
    const { run, end, blobs, ledger } = await work((async (
      input: string,
      { save, scratch, id }: HandlerAttempt,
    ) => {
      const path = join(await scratch(), "clip");
      await writeFile(path, "moved");
      const clip = await save("clip.mp4", { path }, "video/mp4");
      await expect(stat(path)).rejects.toThrow("ENOENT");
      await save("notes.txt", { bytes: new TextEncoder().encode("bytes") }, "text/plain; charset=utf-8");
      await save("log.txt", { stream: Readable.from(["a ", "stream"]) }, "text/plain");
      return input === "file" ? clip : { id, clip };
    }) as Handler<never>);
    const asFile = await end(await run("file"));
    expect(asFile.result).toEqual({ file: "clip.mp4" });
    expect(asFile.files.map(({ name, type, bytes }) => [name, type, bytes])).toEqual([
      ["clip.mp4", "video/mp4", 5],
      ["notes.txt", "text/plain; charset=utf-8", 5],
      ["log.txt", "text/plain", 8],
    ]);
    for (const [at, content] of ["moved", "bytes", "a stream"].entries()) {
      const { blob } = asFile.files[at] as StoredFile;
      expect(await text((await blobs.open(blob))!)).toBe(content);
      expect(blob.startsWith(`${ledger.jobs.address(CALLER.owner, asFile.id)}/1/`)).toBe(true);
    }
    const beside = await end(await run("json"));
    const { clip } = JSON.parse((beside.result as { json: string }).json);
    expect(clip).toEqual({ name: "clip.mp4", type: "video/mp4", bytes: 5, sha256: beside.files[0]?.sha256 });
    expect(beside.files).toHaveLength(3);
  });

  it("are the result where it is the only one and nothing is given back", async () => {
    const { run, end } = await work((async (count: number, { save }: HandlerAttempt) => {
      for (let n = 0; n < count; n++) await save(`${n}.txt`, { bytes: Buffer.from("x") }, "text/plain");
    }) as Handler<never>);
    expect((await end(await run(1))).result).toEqual({ file: "0.txt" });
    const two = await end(await run(2));
    expect(two.result).toEqual({ json: "null" });
    expect(two.files).toHaveLength(2);
  });

  it("have names for people and media types, and the last of a name counts", async () => {
    const { run, end } = await work(async (_, { save }) => {
      await expect(save("", { bytes: Buffer.from("x") }, "text/plain")).rejects.toThrow(TypeError);
      await expect(save("x", { bytes: Buffer.from("x") }, "text/plain\r\nX: y")).rejects.toThrow(TypeError);
      await save("../a\0b.txt", { bytes: Buffer.from("x") }, "text/plain");
      await save("same", { bytes: Buffer.from("1") }, "text/plain");
      await save("same", { bytes: Buffer.from("22") }, "text/plain");
      return null;
    });
    const { files } = await end(await run());
    expect(files.map(({ name, bytes }) => [name, bytes])).toEqual([
      [".._a_b.txt", 1],
      ["same", 2],
    ]);
  });

  it("of elsewhere are copied, not moved away", async () => {
    const { run, end, scratch } = await work(async (_, { save }) => {
      return save("mine.txt", { path: join(scratch, "mine.txt") }, "text/plain");
    });
    await import("node:fs/promises").then(({ mkdir }) => mkdir(scratch, { recursive: true }));
    await writeFile(join(scratch, "mine.txt"), "still here");
    expect((await end(await run())).files[0]?.bytes).toBe(10);
    expect(await readFile(join(scratch, "mine.txt"), "utf8")).toBe("still here");
  });

  it("C3: can't be saved once the attempt has ended, and what was begun is broken off", async () => {
    const kept: HandlerAttempt[] = [];
    const begun = signal<unknown>();
    const { run, end, get, worker } = await work(async (_, attempt) => {
      kept.push(attempt as HandlerAttempt);
      const endless = new Readable({ read() {} });
      endless.push("begun");
      attempt.save("late.txt", { stream: endless }, "text/plain").catch(begun.resolve);
      await attempt.save("done.txt", { bytes: Buffer.from("x") }, "text/plain");
      return null;
    });
    const job = await end(await run());
    expect(await begun.promise).toBeInstanceOf(Error);
    await expect(kept[0]?.save("later.txt", { bytes: Buffer.from("x") }, "text/plain")).rejects.toThrow(
      "has ended",
    );
    await expect(kept[0]?.scratch()).rejects.toThrow("has ended");
    await expect(kept[0]?.checkpoint(1)).rejects.toMatchObject({ reason: "lease-lost" });
    kept[0]?.progress(5);
    await vi.waitFor(() => expect(worker.stats().settling).toBe(0));
    expect(await get(job.id)).toEqual(job);
    expect(job.files.map((file) => file.name)).toEqual(["done.txt"]);
  });

  it("of the scratch directory are gone after the attempt, however it ended", async () => {
    const paths: string[] = [];
    const { run, end, scratch } = await work((async (input: string, attempt: HandlerAttempt) => {
      const folder = await attempt.scratch();
      expect(await attempt.scratch()).toBe(folder);
      expect(await readdir(folder)).toEqual([]);
      paths.push(folder);
      await writeFile(join(folder, "big"), "x");
      if (input === "throw") throw new Failure("no");
    }) as Handler<never>);
    await Promise.all([await run("throw"), await run("return")].map(end));
    expect(new Set(paths).size).toBe(2);
    await vi.waitFor(async () => expect(await readdir(scratch)).toEqual([]));
  });

  it("that were uploaded are read by path and as a stream", async () => {
    const { run, end, blobs } = await work(async (_, { upload }) => {
      return [
        upload?.name,
        upload?.bytes,
        await readFile(await upload!.path(), "utf8"),
        await text(await upload!.stream()),
      ];
    });
    const place = { address: "ab".repeat(16), part: "upload", name: "in.txt" } as const;
    const written = await blobs.write(place, Readable.from(["uploaded"]), { maxBytes: 100 });
    const job = await end(await run(null, { name: "in.txt", type: "text/plain", ...written }));
    expect(job.result).toEqual({ json: '["in.txt",8,"uploaded","uploaded"]' });
  });
});

describe("the attempt", () => {
  it("tells who and what it is, the same key in each attempt, another for another owner's id", async () => {
    const seen: HandlerAttempt[] = [];
    const { run, end, logs, ledger } = await work(async (_, attempt) => {
      seen.push({ ...pick(attempt as HandlerAttempt) });
      attempt.log.warn("Look here", { page: 3 });
      if (attempt.number === 1) throw new Error("again");
    });
    const id = await run();
    await end(id);
    expect(seen.map(({ id, owner, operation, number }) => [id, owner, operation, number])).toEqual([
      [id, "ada", "work", 1],
      [id, "ada", "work", 2],
    ]);
    const [first, second] = seen;
    expect(first?.idempotencyKey).toBe(second?.idempotencyKey);
    expect(first?.idempotencyKey).not.toBe(ledger.jobs.address("eve", id));
    expect(logs).toContainEqual({
      level: "warn",
      message: "Look here",
      job: id,
      operation: "work",
      attempt: 1,
      fields: { page: 3 },
    });
  });
});

function pick({ id, owner, operation, number, idempotencyKey }: HandlerAttempt) {
  return { id, owner, operation, number, idempotencyKey } as HandlerAttempt;
}

describe("a worker that keeps its leases itself", () => {
  it("C6: says that it lives three times a lease, so the job stays its own", async () => {
    const beats = vi.fn();
    const go = signal();
    const { run, end } = await work(
      () => go.promise,
      { lease: 1000 },
      {
        worker: { held: false },
        between: (attempts) => ({
          ...attempts,
          heartbeat(ref, beat) {
            beats();
            if (beats.mock.calls.length === 5) go.resolve();
            return attempts.heartbeat(ref, beat);
          },
        }),
      },
    );
    expect(await end(await run())).toMatchObject({ status: "completed", attempt: 1, crashes: 0 });
  });

  it("C2: stops when it can't renew, and settles nothing of what it lost", async () => {
    const settled = vi.fn();
    const reason = signal<unknown>();
    const { run, worker } = await work(
      (_, attempt) => obedient(attempt).catch((why) => reason.resolve(why.reason)),
      { lease: 1000 },
      {
        worker: { held: false },
        between: (attempts) => ({
          ...attempts,
          heartbeat: () => Promise.reject(new StoreUnavailable("cut off")),
          settle(ref, outcome) {
            settled();
            return attempts.settle(ref, outcome);
          },
        }),
      },
    );
    await run();
    expect(await reason.promise).toBe("lease-lost");
    await vi.waitFor(() => expect(worker.stats()).toMatchObject({ running: 0, settling: 0, lost: 1 }));
    expect(settled).not.toHaveBeenCalled();
  });

  it("hears of a cancel by its heartbeats", async () => {
    const { run, until, cancel, end } = await work(
      (_, attempt) => obedient(attempt),
      { lease: 1000 },
      { worker: { held: false }, between: (attempts) => ({ ...attempts, onStop: () => () => {} }) },
    );
    const id = await run();
    await until(id, "processing");
    await cancel(id);
    expect((await end(id)).status).toBe("canceled");
  });
});

it("an Interruption says why, for handlers to tell", () => {
  expect(new Interruption("time-up")).toMatchObject({ name: "Interruption", reason: "time-up" });
});
