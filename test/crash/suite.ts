// Promises A, B, C, D4 and G3 under kill -9 of real processes and of what is under them, on each store; and the checker
// under servers that break them.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Build, build } from "./build.ts";
import type { ViolationKind } from "./evidence.ts";
import { type CrashOptions, type CrashReport, runCrash } from "./harness.ts";
import type { Role } from "./house.ts";
import type { StoreName } from "./stores.ts";

/** Far above what it takes; a test that hangs is to end. */
const MOST_MS = 900_000;

export interface Topology {
  readonly title: string;
  readonly store: StoreName;
  readonly roles: readonly Role[];
  readonly cycles: number;
}

/** Declares the tests of one topology. Each has a file of its own, so that they share the machine with all the others. */
export function crashSuite({ title, store, roles, cycles }: Topology): void {
  let built: Build;

  beforeAll(async () => {
    built = await build();
  });

  afterAll(() => built.remove());

  describe(title, () => {
    test(
      `no 202 is lost and none is doubled over ${cycles} faults`,
      async () => {
        const seed = process.env.COATCHECK_CRASH_SEED ?? String(Date.now());
        const report = await runCrash({ store, roles, program: built.program("server"), cycles, seed });
        console.log(`crash: ${title}: ${describeReport(report)}`);
        expect(report.violations).toEqual([]);
        // It must not pass because nothing happened.
        const { accept, settle, other } = report.kills;
        expect(report.cycles).toBe(cycles);
        expect(report.healed).toBeGreaterThanOrEqual(0.9);
        expect((accept + settle) / (accept + settle + other)).toBeGreaterThanOrEqual(0.2);
        expect(accept).toBeGreaterThan(0);
        expect(settle).toBeGreaterThan(0);
        expect(report.jobs).toBeGreaterThan(cycles * 5);
        expect(report.replays).toBeGreaterThan(cycles);
        if (store !== "sqlite") expect(report.lostReplies).toBeGreaterThan(0);
      },
      MOST_MS,
    );

    test(
      "the composition of the controls passes with nothing broken in it",
      async () => {
        const report = await runControl("sound", { cycles: 3, rounds: roundsOf(roles) });
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
        const rounds = roles.length === 1 ? [] : ([["identical", 0]] as const);
        const options = { cycles: 60, points: ["accept-after-commit"], rounds } as const;
        const report = await runControl("check-then-insert", options);
        expect(kindsOf(report)).toContain("doubled");
      },
      MOST_MS,
    );

    // With nobody beside it, a process that is stopped loses no attempt.
    if (roles.length === 1) return;
    test(
      "a worker that settles without asking for the attempt is found out",
      async () => {
        const rounds = [0, 1, 2, 3].map((cycle) => ["late settle", cycle / 4] as const);
        const report = await runControl("settle-unfenced", { cycles: 4, rounds });
        expect(kindsOf(report)).toContain("wrong-attempt");
      },
      MOST_MS,
    );

    /** The same seed each time: a control that is found out today is found out tomorrow. */
    function runControl(
      name: string,
      options: Pick<CrashOptions, "cycles" | "points" | "rounds">,
    ): Promise<CrashReport> {
      const untilFound = name !== "sound";
      const program = built.program(`controls/${name}`);
      return runCrash({ store, roles, program, seed: "control", rounds: [], untilFound, ...options });
    }
  });
}

function roundsOf(roles: readonly Role[]): NonNullable<CrashOptions["rounds"]> {
  return roles.length === 1 ? [] : [["late settle", 0]];
}

function kindsOf({ violations }: CrashReport): ViolationKind[] {
  return violations.map(({ kind }) => kind);
}

function describeReport(report: CrashReport): string {
  const { accept, settle, other } = report.kills;
  return [
    `seed ${report.seed}, ${report.cycles} cycles in ${report.seconds.toFixed(0)} s`,
    `kills in accept ${accept}, settle ${settle}, other ${other}`,
    `${report.recorded} 202s, ${report.jobs} jobs, ${report.replays} replays`,
    `lost ${report.lost}, doubled ${report.doubled}, ${(100 * report.healed).toFixed(1)} % after healing`,
    `${report.lostReplies} replies lost, slowest recovery ${report.slowestRecoveryMs} ms, slowest cancel ${report.slowestCancelMs} ms`,
  ].join("; ");
}
