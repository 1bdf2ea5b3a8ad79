// Handlers in real threads and processes: all that a handler may do works there, and nothing that it does wrong gets out.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { startWorking, type Working } from "../../test/working.ts";
import { defineOperation, type Operation, type OperationOptions } from "../core/operation.ts";
import { loading } from "./carrier.ts";
import type { Isolation } from "./registered.ts";

const MODULE = new URL("../../test/isolated-handler.ts", import.meta.url);

let working: Working | undefined;
let child: ChildProcess | undefined;
afterEach(async () => {
  await working?.close();
  working = undefined;
  child?.kill("SIGKILL");
  child = undefined;
});

async function work(isolate: Isolation, options: Partial<OperationOptions> = {}, concurrency = 2) {
  const operation = defineOperation({
    name: "work",
    input: {},
    retry: { backoff: { baseMs: 0 } },
    ...options,
  }) as Operation;
  working = await startWorking({
    handlers: [[operation, { module: MODULE, isolate, concurrency, memoryMb: 64 }]],
  });
  const { submit } = working;
  return { ...working, run: (input: object, more = {}) => submit(operation, input, more) };
}

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe.each(["thread", "process"] as const)("a handler in a %s", (isolate) => {
  it("has all that a handler has", async () => {
    const { run, end, blobs, ledger, logs, events, scratch } = await work(isolate);
    const place = { address: "ab".repeat(16), part: "upload", name: "in.txt" } as const;
    const written = await blobs.write(place, Readable.from(["uploaded"]), { maxBytes: 100 });
    const id = await run(
      { do: "everything" },
      { upload: { name: "in.txt", type: "text/plain", ...written } },
    );
    const job = await end(id);
    expect(job.problem).toBeNull();
    const { moved, ...rest } = JSON.parse((job.result as { json: string }).json);
    expect(rest).toEqual({
      id,
      owner: "ada",
      operation: "work",
      number: 1,
      idempotencyKey: ledger.jobs.address("ada", id),
      resume: null,
      read: ["in.txt", "uploaded", "uploaded"],
    });
    expect(moved).toEqual({ name: "moved.txt", type: "text/plain", bytes: 5, sha256: expect.any(String) });
    expect(job.files.map(({ name, bytes }) => [name, bytes])).toEqual([
      ["moved.txt", 5],
      ["bytes.bin", 100_000],
      ["stream.txt", 8],
    ]);
    expect(await text((await blobs.open(job.files[2]!.blob))!)).toBe("a stream");
    expect(job.message).toBe("Page 50");
    expect(events.filter((event) => event.kind === "progress").length).toBeLessThan(10);
    expect(logs).toContainEqual({
      level: "info",
      message: "at work",
      job: id,
      operation: "work",
      attempt: 1,
      fields: { page: 1 },
    });
    await vi.waitFor(async () =>
      expect(await import("node:fs/promises").then((fs) => fs.readdir(scratch))).toEqual([]),
    );
  });

  it("gives a file as its result", async () => {
    const { run, end, blobs } = await work(isolate);
    const job = await end(await run({ do: "file" }));
    expect(job.result).toEqual({ file: "result.txt" });
    expect(job.files.map((file) => file.name)).toEqual(["other.txt", "result.txt"]);
    expect(await text((await blobs.open(job.files[1]!.blob))!)).toBe("the result");
  });

  it("is given the input that the schema made, dates and all", async () => {
    const input = z.object({ do: z.string(), at: z.iso.date().transform((day) => new Date(day)) });
    const { run, end } = await work(isolate, { input });
    const job = await end(await run({ do: "echo", at: "2026-01-02" }));
    expect(JSON.parse((job.result as { json: string }).json)).toMatchObject({ isDate: true });
  });

  it("fails with what it threw, for good where that is a Failure", async () => {
    const { run, end } = await work(isolate, { retry: { attempts: 2, backoff: { baseMs: 0 } } });
    expect(await end(await run({ do: "throw" }))).toMatchObject({
      status: "failed",
      failures: 2,
      crashes: 0,
      problem: { type: "attempt-failed", detail: "an ordinary mistake" },
    });
    expect(await end(await run({ do: "fail" }))).toMatchObject({
      attempt: 1,
      problem: { type: "no-month", status: 422, detail: "Final.", month: 13 },
    });
    expect((await end(await run({ do: "bad type" }))).problem?.detail).toMatch(/needs a media type/);
  });

  it("fails for good with a result that can't be kept", async () => {
    const { run, end } = await work(isolate, { output: z.object({ pages: z.number() }) });
    for (const deed of ["give a function", "give too much", "tell"]) {
      expect(await end(await run({ do: deed }))).toMatchObject({
        attempt: 1,
        problem: { type: "invalid-result" },
      });
    }
  });

  it("has its checkpoint kept when it crashes, and resumes from it", async () => {
    const { run, end, clock, when } = await work(isolate);
    const id = await run({ do: "resume" });
    await when(id, (job) => job.crashes === 1);
    clock.pass(20_000);
    expect(await end(id)).toMatchObject({
      attempt: 2,
      crashes: 1,
      failures: 0,
      result: { json: '{"resumed":{"row":7}}' },
    });
  });

  it.each(["throw later", "reject unheard", "eat memory", "talk nonsense"])(
    "C7: that would %s takes only its own attempt with it",
    async (deed) => {
      const { run, when, get } = await work(isolate);
      const neighbour = await run({ do: "obey" });
      await when(neighbour, (job) => job.message === "waiting");
      const id = await run({ do: deed });
      expect(await when(id, (job) => job.crashes === 1)).toMatchObject({
        status: "queued",
        failures: 0,
        problem: { type: "worker-lost" },
      });
      expect(await get(neighbour)).toMatchObject({ status: "processing", attempt: 1 });
    },
  );

  it("C7: that exits each time is given up after three times", async () => {
    const { run, end, when, clock } = await work(isolate);
    const id = await run({ do: "exit" });
    for (const crashes of [1, 2]) {
      const job = await when(id, (job) => job.crashes === crashes);
      clock.pass(job.dueAt - clock.moment().now);
    }
    const job = await end(id);
    expect(job).toMatchObject({
      status: "failed",
      crashes: 3,
      failures: 0,
      problem: { type: "worker-lost" },
    });
    expect(job.problem?.detail).toMatch(/ended by itself with code 0/);
  });

  it("C6: that spins for ever times out and is killed, and this thread answers throughout", async () => {
    const { run, end, worker, when } = await work(isolate, {
      timeout: 1500,
      grace: 50,
      retry: { attempts: 1 },
    });
    const id = await run({ do: "spin" });
    await when(id, (job) => job.message === "spinning");
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    const job = await end(id);
    delay.disable();
    expect(job).toMatchObject({ status: "failed", crashes: 0, problem: { type: "timed-out" } });
    // A thread of its own blocks this one for no longer than the machine's own hiccups.
    expect(delay.max / 1e6).toBeLessThan(1000);
    expect(worker.stats()).toMatchObject({ running: 0, abandoned: 0 });
    expect((await end(await run({ do: "tell" }))).status).toBe("completed");
  });

  it("C8: hears that it was canceled, and why", async () => {
    const { run, end, when, cancel, logs } = await work(isolate);
    const id = await run({ do: "obey" });
    await when(id, (job) => job.message === "waiting");
    await cancel(id);
    expect(await end(id)).toMatchObject({ status: "canceled", crashes: 0, failures: 0 });
    expect(logs.map((line) => line.message)).toContain("heard canceled");
  });

  it("C8: is killed where it goes on after the grace", async () => {
    const { run, end, when, cancel } = await work(isolate, { grace: 50 });
    const id = await run({ do: "spin" });
    await when(id, (job) => job.message === "spinning");
    await cancel(id);
    expect(await end(id)).toMatchObject({ status: "canceled", attempt: 1 });
  });

  it("G3: hears of the shutdown, is killed at its end, and counts no failure", async () => {
    const { run, when, worker, get, logs } = await work(isolate);
    const [obedient, deaf] = [await run({ do: "obey" }), await run({ do: "spin" })];
    await when(obedient, (job) => job.message === "waiting");
    await when(deaf, (job) => job.message === "spinning");
    await worker.stop({ graceMs: 300 });
    for (const id of [obedient, deaf]) {
      expect(await get(id)).toMatchObject({
        status: "queued",
        attempt: 1,
        failures: 0,
        crashes: 0,
        worker: null,
      });
    }
    expect(logs.map((line) => line.message)).toContain("heard shutting-down");
  });

  it("runs where the one before it ended well, and elsewhere where that did not", async () => {
    const { run, end, clock, when } = await work(isolate, {}, 1);
    const who = async (id: string) => JSON.parse(((await end(id)).result as { json: string }).json);
    const first = await who(await run({ do: "tell" }));
    expect(await who(await run({ do: "tell" }))).toEqual(first);
    expect(first.threadId === 0).toBe(isolate === "process");
    expect(first.pid === process.pid).toBe(isolate === "thread");
    const id = await run({ do: "exit", once: true });
    await when(id, (job) => job.crashes === 1 && job.status === "queued");
    clock.pass(20_000);
    expect(await who(id)).not.toEqual(first);
  });

  it("does not keep a program from ending, nor lets it end before the worker has stopped", async () => {
    const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
    const script = `
      const { startWorking } = await import(${url("../../test/working.ts")});
      const { defineOperation } = await import(${url("../core/operation.ts")});
      const operation = defineOperation({ name: "work", input: {} });
      const working = await startWorking({
        handlers: [[operation, { module: new URL(${url("../../test/isolated-handler.ts")}), isolate: "${isolate}" }]],
      });
      await working.end(await working.submit(operation, { do: "tell" }));
      await working.close();
      process.stdout.write("closed");
    `;
    child = spawn(process.execPath, [...process.execArgv, "--input-type=module", "--eval", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const said = text(child.stdout as Readable);
    expect(await once(child, "exit")).toEqual([0, null]);
    expect(await said).toBe("closed");
  });

  it("fails plainly where its module can't be loaded or has no handler", async () => {
    const operation = defineOperation({ name: "broken", input: {}, retry: { attempts: 1 } }) as Operation;
    for (const [module, detail] of [
      [new URL("./nowhere.js", import.meta.url), /nowhere\.js/],
      ["data:text/javascript,export const other = 1", /no function as its default export/],
    ] as const) {
      working = await startWorking({ handlers: [[operation, { module, isolate }]] });
      const job = await working.end(await working.submit(operation));
      expect(job).toMatchObject({ crashes: 0, problem: { type: "attempt-failed" } });
      expect(job.problem?.detail).toMatch(detail);
      await working.close();
    }
  });
});

// Windows has no process groups to end.
describe.skipIf(process.platform === "win32")("a process", () => {
  it("takes the programs that it started with it when it is killed", async () => {
    const { run, end, when, cancel } = await work("process", { grace: 0 });
    const id = await run({ do: "leave a child" });
    const { message } = await when(id, (job) => job.message !== null);
    expect(isAlive(Number(message))).toBe(true);
    await cancel(id);
    await end(id);
    await vi.waitFor(() => expect(isAlive(Number(message))).toBe(false), { timeout: 10_000 });
  });

  it("does not outlive a worker that is killed, even while it spins", async () => {
    const folder = await mkdtemp(join(tmpdir(), "coatcheck-test-"));
    const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
    const script = `
      const { startWorking } = await import(${url("../../test/working.ts")});
      const { defineOperation } = await import(${url("../core/operation.ts")});
      const operation = defineOperation({ name: "work", input: {} });
      const working = await startWorking({
        handlers: [[operation, { module: new URL(${url("../../test/isolated-handler.ts")}), isolate: "process" }]],
      });
      const id = await working.submit(operation, { do: "spin after" });
      const { message } = await working.when(id, (job) => job.message !== null);
      process.stdout.write(message);
    `;
    child = spawn(process.execPath, [...process.execArgv, "--input-type=module", "--eval", script], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, TMPDIR: folder },
    });
    const [pid] = await once(child.stdout!, "data");
    // Past the moment from which it hears nothing any more.
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(isAlive(Number(pid))).toBe(true);
    child.kill("SIGKILL");
    await vi.waitFor(() => expect(isAlive(Number(pid))).toBe(false), { timeout: 10_000 });
    await rm(folder, { recursive: true, force: true });
  });
});

it("only options by which modules load are handed on, with paths that hold elsewhere too", () => {
  const cwd = process.cwd();
  expect(
    loading([
      "--import",
      "./scripts/x.js",
      "--inspect=0",
      "--eval",
      "1",
      "--import=tsx",
      "-r",
      "../y.cjs",
      "--no-warnings",
    ]),
  ).toEqual([
    "--import",
    join(cwd, "scripts/x.js"),
    "--import",
    "tsx",
    "-r",
    join(cwd, "../y.cjs"),
    "--no-warnings",
  ]);
});
