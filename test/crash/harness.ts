// The crash test: cycles of start, examine, load and kill on one store, rounds in between, and a reckoning at the end.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCaller } from "./caller.ts";
import { createDice, type Dice } from "./dice.ts";
import type { Violation, ViolationKind } from "./evidence.ts";
import { examine, examineAll, examineLists, rest } from "./examine.ts";
import { runLoad } from "./load.ts";
import {
  describeStrike,
  type Inside,
  type LoadPoint,
  MOST_CREATE_MS,
  planStrike,
  type Strike,
} from "./plan.ts";
import { lateSettleRound, pairRound, type RoundName, rescueRound, shutdownRound } from "./rounds.ts";
import { startTarget, type Target } from "./target.ts";
import { World } from "./world.ts";

export interface CrashOptions {
  /** A compiled server. */
  readonly program: string;
  readonly cycles: number;
  readonly seed: string;
  /** Kills only here. Default: everywhere. */
  readonly points?: readonly LoadPoint[];
  /** Which rounds are run, and after which share of the cycles (0 to 1). Default: all. */
  readonly rounds?: readonly (readonly [RoundName, number])[];
  /** Ends with the cycle or round in which the checker finds something. Default false. */
  readonly untilFound?: boolean;
  /** Hears a line about each cycle. */
  readonly tell?: (line: string) => void;
}

export interface CrashReport {
  readonly seed: string;
  readonly cycles: number;
  readonly kills: Readonly<Record<Inside, number>>;
  /** Kills by the process's own hand at a named point; the others came from outside. */
  readonly atPoints: number;
  /** 202s that the recorder has on its disk. */
  readonly recorded: number;
  readonly jobs: number;
  readonly replays: number;
  readonly lost: number;
  readonly doubled: number;
  readonly otherwise: number;
  /** Jobs that failed because their workers were lost three times. */
  readonly givenUp: number;
  /** The share of requests after a fault had healed that were answered as they must be. */
  readonly healed: number;
  readonly violations: readonly Violation[];
  readonly seconds: number;
}

/** All rounds, spread so that they meet a store of every size. */
const ROUNDS: readonly (readonly [RoundName, number])[] = [
  ["rescue", 0.1],
  ["shutdown", 0.3],
  ["late settle", 0.5],
  ["pair", 0.7],
  ["shutdown", 0.85],
];

// A point that the load does not come to, as when the machine is slow, becomes a kill from outside.
const MOST_LOAD_MS = 1000;

/** Runs it. The same seed plans the same kills and throws the same dice. */
export async function runCrash(options: CrashOptions): Promise<CrashReport> {
  const { program, cycles, seed, rounds = ROUNDS, tell = () => {} } = options;
  const startedAt = performance.now();
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-crash-"));
  const dice = createDice(seed);
  const world = await World.open(folder, dice.fork("world"));
  const kills: Record<Inside, number> = { accept: 0, settle: 0, other: 0 };
  let [done, atPoints] = [0, 0];
  const found = () => options.untilFound === true && world.checker.violations.length > 0;
  try {
    for (; done < cycles && !found(); done++) {
      for (const [round, at] of rounds) {
        if (Math.floor(at * cycles) === done) {
          world.checker.stage = `${round} round before cycle ${done + 1}`;
          await runRound(round, world, program, dice.fork(`${round} ${done}`));
          tell(`${round} round`);
        }
      }
      const strike = planStrike(seed, done, options.points);
      world.checker.stage = `cycle ${done + 1}`;
      const { inside, point } = await runCycle(world, program, strike, dice.fork(`cycle ${done}`));
      kills[inside]++;
      if (point !== null) atPoints++;
      tell(`${done + 1}. ${describeStrike(strike)}: in ${inside}; ${world.checker.jobs.length} jobs`);
    }
    world.checker.stage = "at the end";
    if (!found()) await reckon(world, program);
    const { checker } = world;
    const count = (...kinds: ViolationKind[]) =>
      checker.violations.filter(({ kind }) => kinds.includes(kind)).length;
    const [lost, doubled] = [count("lost"), count("doubled", "mixed", "wrong-attempt")];
    return {
      seed,
      cycles: done,
      kills,
      atPoints,
      recorded: (await world.readAccepted()).length,
      jobs: checker.jobs.length,
      replays: checker.replays,
      lost,
      doubled,
      otherwise: checker.violations.length - lost - doubled,
      givenUp: checker.givenUp,
      healed: world.healed.answered / Math.max(1, world.healed.asked),
      violations: checker.violations,
      seconds: (performance.now() - startedAt) / 1000,
    };
  } finally {
    await world.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** One start, and one kill. */
async function runCycle(
  world: World,
  program: string,
  strike: Strike,
  dice: Dice,
): Promise<Awaited<ReturnType<Target["autopsy"]>>> {
  const crashAt =
    strike.kind === "point"
      ? `${strike.point}#${strike.nth}`
      : strike.kind === "create"
        ? `${strike.point}#1`
        : "";
  const target = startTarget(program, world.folder, crashAt);
  if (strike.kind === "start" || strike.kind === "create") {
    await Promise.race([target.ended, pause(strike.kind === "start" ? strike.afterMs : MOST_CREATE_MS)]);
    target.signal("SIGKILL");
    return target.autopsy();
  }
  const caller = createCaller(await portOf(target));
  await examine(world, caller, dice.fork("examine"));
  const gone = new AbortController();
  void target.ended.then(() => gone.abort());
  target.signal("SIGUSR2");
  const load = runLoad(world, caller, dice.fork("load"), gone.signal);
  const timer = setTimeout(
    () => target.signal("SIGKILL"),
    strike.kind === "moment" ? strike.afterMs : MOST_LOAD_MS,
  );
  const autopsy = await target.autopsy();
  clearTimeout(timer);
  await load;
  await caller.close();
  return autopsy;
}

async function runRound(round: RoundName, world: World, program: string, dice: Dice): Promise<void> {
  if (round === "rescue") await rescueRound(world, program);
  else if (round === "pair") await pairRound(world, program, dice);
  else if (round === "late settle") await lateSettleRound(world, program);
  else await shutdownRound(world, program, dice);
}

/** The end: everything has ended, all of it is looked at, and after one more restart it is still the same. */
async function reckon(world: World, program: string): Promise<void> {
  for (const look of [examineAll, examineLists]) {
    const target = startTarget(program, world.folder);
    const caller = createCaller(await portOf(target));
    await rest(world, caller);
    await look(world, caller);
    target.signal("SIGKILL");
    await target.autopsy();
    await caller.close();
  }
  // The recorder's disk is the truth about what was promised, not our memory.
  const jobs = new Set(world.checker.jobs);
  for (const { id } of await world.readAccepted()) {
    if (!jobs.has(id)) world.checker.fail("error", `${id} was recorded but never looked at`);
  }
  world.checker.finish();
}

/** A server that ends instead of serving is a failure of its own, and says why. */
async function portOf(target: Target): Promise<number> {
  try {
    return await target.port;
  } catch (error) {
    await target.autopsy();
    throw error;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
