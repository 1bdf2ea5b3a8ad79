// Runs the handler of `rehearsal` for real; what must kill or hang a process does so in a child.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure, type InputOf, Interruption } from "coatcheck";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RehearsalOptions, rehearse } from "../rehearse.ts";
import handler, { type Rehearsed } from "./handler.ts";
import { rehearsal } from "./operation.ts";

let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "rehearsal-test-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

async function run(input: InputOf<typeof rehearsal>, options: RehearsalOptions<Rehearsed> = {}) {
  const ran = await rehearse(handler, input, options);
  await ran.remove();
  return ran;
}

const input = (some: object) => rehearsal.input!.parse(some);

describe("rehearsal", () => {
  it("completes by default, with a text of the length that was asked for", async () => {
    const ran = await run(input({ seconds: 0.05, steps: 5, resultBytes: 123 }));
    expect(ran.output).toEqual({ slept: 0.05, text: expect.any(String) });
    expect(ran.output).toHaveProperty("text.length", 123);
    expect(ran.progress.map((report) => report.percent)).toEqual([20, 40, 60, 80, 100]);
    expect(ran.progress.at(-1)?.message).toBe("Step 5 of 5");
  });

  it("has defaults for everything and bounds on all of it", () => {
    expect(input({})).toEqual({ seconds: 2, steps: 10, outcome: "complete", resultBytes: 1000 });
    for (const wrong of [
      { seconds: 3601 },
      { seconds: -1 },
      { steps: 0 },
      { steps: 10_001 },
      { steps: 1.5 },
      { resultBytes: 10_000_001 },
      { outcome: "explode" },
    ]) {
      expect(rehearsal.input!.safeParse(wrong).success, JSON.stringify(wrong)).toBe(false);
    }
  });

  it("stores a checkpoint after each long step, and resumes from one", async () => {
    const whole = await run(input({ seconds: 0.4, steps: 4 }));
    expect(whole.checkpoints).toEqual([{ step: 1 }, { step: 2 }, { step: 3 }]);
    const rest = await run(input({ seconds: 0.4, steps: 4 }), { resume: { step: 3 } });
    expect(rest.progress).toEqual([{ percent: 100, message: "Step 4 of 4" }]);
    expect(rest.output).toEqual(whole.output);
  });

  it("takes ten thousand steps without ten thousand checkpoints", async () => {
    const ran = await run(input({ seconds: 0.3, steps: 10_000 }));
    expect(ran.progress).toHaveLength(10_000);
    expect(ran.checkpoints.length).toBeLessThan(10);
  });

  it("fails in the way that was asked for", async () => {
    const again = await run(input({ seconds: 0, outcome: "fail" }));
    expect(again.error).toBeInstanceOf(Error);
    expect(again.error).not.toBeInstanceOf(Failure);
    const final = await run(input({ seconds: 0, outcome: "fail-final" }));
    expect(final.error).toBeInstanceOf(Failure);
  });

  it("stops in the middle of a step when its signal fires, with the signal's reason", async () => {
    const stop = new AbortController();
    const reason = new Interruption("canceled");
    const ran = await run(input({ seconds: 3600, steps: 10_000 }), {
      signal: stop.signal,
      onProgress: () => setImmediate(() => stop.abort(reason)),
    });
    expect(ran.error).toBe(reason);
    expect(ran.progress).toHaveLength(1);
  });

  it("crashes the process that it runs in", async () => {
    const child = inChild({ seconds: 0.01, outcome: "crash" });
    expect(await once(child, "exit")).toEqual([1, null]);
  });

  it("hangs through its signal until its process is killed", async () => {
    const child = inChild({ seconds: 0.01, steps: 1, outcome: "hang" });
    await once(child, "message");
    child.send("abort");
    expect(await once(child, "message")).toEqual(["still running", undefined]);
    child.kill("SIGKILL");
    expect(await once(child, "exit")).toEqual([null, "SIGKILL"]);
  });
});

// Tells of each step; after "abort" it fires the signal and tells once more, if it has not ended by then.
const CHILD = `
  const [rehearseUrl, handlerUrl, input] = process.argv.slice(1);
  const { rehearse } = await import(rehearseUrl);
  const { default: handler } = await import(handlerUrl);
  const stop = new AbortController();
  process.on("message", () => {
    stop.abort();
    setTimeout(() => process.send("still running"), 100);
  });
  await rehearse(handler, JSON.parse(input), {
    signal: stop.signal,
    onProgress: () => process.send("step"),
  });
  process.exit(7);
`;

function inChild(some: object): ChildProcess {
  const urls = ["../rehearse.ts", "./handler.ts"].map((path) => new URL(path, import.meta.url).href);
  return spawn(
    process.execPath,
    [...process.execArgv, "--input-type=module", "--eval", CHILD, ...urls, JSON.stringify(input(some))],
    // What a killed process leaves in its temporary folder goes with that folder.
    { stdio: ["ignore", "inherit", "inherit", "ipc"], env: { ...process.env, TMPDIR: home } },
  );
}
