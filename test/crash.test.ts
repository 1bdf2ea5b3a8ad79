// Promises A, B, C, D4 and G3 on the SQLite store, under kill -9 of real processes; and the checker under servers that break them.
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Build, build } from "./crash/build.ts";
import type { ViolationKind } from "./crash/evidence.ts";
import { type CrashOptions, type CrashReport, runCrash } from "./crash/harness.ts";

/** Far above what it takes; a test that hangs is to end. */
const MOST_MS = 900_000;

const CYCLES = 100;

let built: Build;

beforeAll(async () => {
  built = await build();
});

afterAll(() => built.remove());

test(
  `no 202 is lost and none is doubled over ${CYCLES} kills`,
  async () => {
    const seed = process.env.COATCHECK_CRASH_SEED ?? String(Date.now());
    const report = await runCrash({ program: built.program("server"), cycles: CYCLES, seed });
    const { accept, settle, other } = report.kills;
    console.log(
      `crash: seed ${seed}, ${report.cycles} cycles in ${report.seconds.toFixed(0)} s; kills in accept ${accept}, ` +
        `settle ${settle}, other ${other}; ${report.recorded} 202s, ${report.jobs} jobs, ${report.replays} replays; ` +
        `lost ${report.lost}, doubled ${report.doubled}; ${(100 * report.healed).toFixed(1)} % after healing`,
    );
    expect(report.violations).toEqual([]);
    // It must not pass because nothing happened.
    expect(report.cycles).toBe(CYCLES);
    expect(report.healed).toBeGreaterThanOrEqual(0.9);
    expect((accept + settle) / (accept + settle + other)).toBeGreaterThanOrEqual(0.2);
    expect(accept).toBeGreaterThan(0);
    expect(settle).toBeGreaterThan(0);
    expect(report.jobs).toBeGreaterThan(CYCLES * 5);
    expect(report.replays).toBeGreaterThan(CYCLES);
  },
  MOST_MS,
);

test(
  "the composition of the controls passes with nothing broken in it",
  async () => {
    const report = await runControl("sound", { cycles: 5, rounds: [["late settle", 0]], untilFound: false });
    expect(report.violations).toEqual([]);
  },
  MOST_MS,
);

test(
  "a server that answers before it commits is found out",
  async () => {
    const report = await runControl("ack-early", { cycles: 60, points: ["accept-before-commit"] });
    expect(kindsOf(report)).toContain("lost");
  },
  MOST_MS,
);

test(
  "a server that looks for a key and then inserts it is found out",
  async () => {
    const report = await runControl("check-then-insert", { cycles: 60, points: ["accept-after-commit"] });
    expect(kindsOf(report)).toContain("doubled");
  },
  MOST_MS,
);

test(
  "a server that settles without asking for the attempt is found out",
  async () => {
    const rounds = [0, 1, 2, 3].map((cycle) => ["late settle", cycle / 4] as const);
    const report = await runControl("settle-unfenced", { cycles: 4, rounds });
    expect(kindsOf(report)).toContain("wrong-attempt");
  },
  MOST_MS,
);

/** The same seed each time: a control that is found out today is found out tomorrow. */
function runControl(name: string, options: Partial<CrashOptions>): Promise<CrashReport> {
  return runCrash({
    program: built.program(`controls/${name}`),
    cycles: 1,
    seed: "control",
    rounds: [],
    untilFound: true,
    ...options,
  });
}

function kindsOf({ violations }: CrashReport): ViolationKind[] {
  return violations.map(({ kind }) => kind);
}
