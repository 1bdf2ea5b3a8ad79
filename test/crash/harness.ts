// The crash test: a fleet on one store under load, a fault a cycle, rounds in between, and a reckoning at the end.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDice, type Dice } from "./dice.ts";
import type { Violation, ViolationKind } from "./evidence.ts";
import { examine, examineAll, examineLists, rest } from "./examine.ts";
import { Fleet, Member } from "./fleet.ts";
import type { Role } from "./house.ts";
import { runLoad } from "./load.ts";
import {
  type Deck,
  describeStrike,
  FILE_DECK,
  type Inside,
  type LoadPoint,
  planStrike,
  SOCKET_DECK,
} from "./plan.ts";
import { ROUNDS, type RoundName } from "./rounds.ts";
import { STORES, type StoreName } from "./stores.ts";
import { checkAwake, type Field, pickVictim, strike } from "./strikes.ts";
import { World } from "./world.ts";

export interface CrashOptions {
  readonly store: StoreName;
  /** One process each. */
  readonly roles: readonly Role[];
  /** A compiled process. */
  readonly program: string;
  readonly cycles: number;
  readonly seed: string;
  /** Which faults. Default: all that the store can have. */
  readonly deck?: Deck;
  /** Kills only here. Default: everywhere. */
  readonly points?: readonly LoadPoint[];
  /** Which rounds are run, and after which share of the cycles (0 to 1). Default: all that the roles allow. */
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
  /** Kills at named points; the others came at a moment. */
  readonly atPoints: number;
  /** How often each kind of fault struck. */
  readonly strikes: Readonly<Record<string, number>>;
  /** Replies to commits that were lost on their way. */
  readonly lostReplies: number;
  /** 202s that the recorder has on its disk. */
  readonly recorded: number;
  readonly jobs: number;
  readonly replays: number;
  readonly lost: number;
  readonly doubled: number;
  readonly otherwise: number;
  /** Jobs that failed because their workers were lost three times. */
  readonly givenUp: number;
  /** The share of requests after a fault had healed, or to processes that it did not hit, that were answered as they must be. */
  readonly healed: number;
  /** The longest that a process took to come back from a fault that it lived through. */
  readonly slowestRecoveryMs: number;
  /** The longest that a handler took to hear of a cancel. */
  readonly slowestCancelMs: number;
  readonly violations: readonly Violation[];
  readonly seconds: number;
}

/** Spread so that they meet a store of every size. */
const ALL_ROUNDS: readonly (readonly [RoundName, number])[] = [
  ["identical", 0],
  ["cancel", 0],
  ["rescue", 0.1],
  ["shutdown", 0.4],
  ["late settle", 0.5],
  ["identical", 0.7],
  ["rescue", 0.8],
];

/** What one process alone can be asked. */
const LONE_ROUNDS: readonly (readonly [RoundName, number])[] = [
  ["rescue", 0.1],
  ["shutdown", 0.6],
];

// Longer than a supervisor tries.
const MOST_UP_MS = 30_000;

// How long the others are still asked after a fault, while it lasts.
const AFTER_MS = 40;

/** Runs it. The same seed plans the same faults and throws the same dice. */
export async function runCrash(options: CrashOptions): Promise<CrashReport> {
  const { cycles, seed, roles, store, tell = () => {} } = options;
  const rounds = options.rounds ?? (roles.length === 1 ? LONE_ROUNDS : ALL_ROUNDS);
  const startedAt = performance.now();
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-crash-"));
  const dice = createDice(seed);
  const ground = await STORES[store](folder);
  const deck = options.deck ?? (ground.engine === null ? FILE_DECK : SOCKET_DECK);
  const world = await World.open(folder, dice.fork("world"));
  const fleet = new Fleet({ program: options.program, folder, roles, ground });
  const fieldOf = (name: string): Field => ({ world, fleet, ground, dice: dice.fork(name) });
  const kills: Record<Inside, number> = { accept: 0, settle: 0, other: 0 };
  const strikes: Record<string, number> = {};
  const trailing: Promise<unknown>[] = [];
  const found = () => options.untilFound === true && world.checker.violations.length > 0;
  let [done, atPoints] = [0, 0];
  try {
    world.checker.stage = "at the start";
    await dieInStart(options, folder, ground, dice.fork("start"));
    await fleet.start();
    for (; done < cycles && !found(); done++) {
      for (const gone of trailing.splice(0, Math.max(0, trailing.length - 8))) await gone;
      for (const [round, at] of rounds) {
        if (Math.floor(at * cycles) !== done) continue;
        world.checker.stage = `${round} round before cycle ${done + 1}`;
        await Promise.all(trailing.splice(0));
        await ROUNDS[round](fieldOf(`${round} ${done}`));
        tell(`${round} round`);
      }
      const plan = planStrike(seed, done, deck, options.points);
      world.checker.stage = `cycle ${done + 1} (${describeStrike(plan)})`;
      const before = world.checker.violations.length;
      const cycleAt = performance.now();
      const struck = await runCycle(fieldOf(`cycle ${done}`), plan, trailing);
      strikes[plan.kind] = (strikes[plan.kind] ?? 0) + 1;
      for (const { inside, point } of struck) {
        kills[inside]++;
        if (point !== null) atPoints++;
      }
      for (const { kind, detail } of world.checker.violations.slice(before)) tell(`${kind}: ${detail}`);
      const inside = struck.map((one) => `, in ${one.inside}`).join("");
      const ms = (performance.now() - cycleAt).toFixed(0);
      tell(`${done + 1}. ${describeStrike(plan)}${inside}; ${world.checker.jobs.length} jobs, ${ms} ms`);
    }
    world.checker.stage = "at the end";
    await Promise.all(trailing);
    if (!found()) await reckon(fieldOf("end"));
  } finally {
    await fleet.kill();
    await ground.close();
    await world.close();
    await rm(folder, { recursive: true, force: true });
  }
  const { checker } = world;
  const count = (...kinds: ViolationKind[]) =>
    checker.violations.filter(({ kind }) => kinds.includes(kind)).length;
  const [lost, doubled] = [count("lost"), count("doubled", "mixed", "wrong-attempt")];
  return {
    seed,
    cycles: done,
    kills,
    atPoints,
    strikes,
    lostReplies: world.lostReplies,
    recorded: world.recorded,
    jobs: checker.jobs.length,
    replays: checker.replays,
    lost,
    doubled,
    otherwise: checker.violations.length - lost - doubled,
    givenUp: checker.givenUp,
    healed: world.healed.answered / Math.max(1, world.healed.asked),
    slowestRecoveryMs: world.slowestRecoveryMs,
    slowestCancelMs: world.slowestCancelMs,
    violations: checker.violations,
    seconds: (performance.now() - startedAt) / 1000,
  };
}

/** Processes that die while they make the store, before any other comes. */
async function dieInStart(
  { program, roles }: CrashOptions,
  folder: string,
  ground: Field["ground"],
  dice: Dice,
): Promise<void> {
  for (const point of ground.createPoints) {
    const member = new Member("first", roles[0]!, { program, folder, roles, ground });
    await member.launch(point);
    await Promise.race([member.target.ended, pause(MOST_CREATE_MS)]);
    await member.kill();
  }
  for (let count = 0; count < 2; count++) {
    const member = new Member("first", roles[0]!, { program, folder, roles, ground });
    await member.launch();
    await pause(dice.whole(100, 500));
    await member.kill();
  }
}

/** A process that makes no store does not come to the points of that; it is killed after this. */
const MOST_CREATE_MS = 2000;

/** One fault under load, and what became of everything. */
async function runCycle(field: Field, plan: ReturnType<typeof planStrike>, trailing: Promise<unknown>[]) {
  const { world, fleet, dice } = field;
  await fleetUp(field);
  const victim = pickVictim(field, plan);
  const stop = new AbortController();
  const caller = fleet.balanced(dice.fork("balance"), (member, reply) => {
    const isBystander = victim !== null && member !== victim && plan.kind !== "stop";
    if (isBystander) world.count(reply?.status ?? null, (status) => status < 500);
  });
  const load = runLoad(world, caller, dice.fork("load"), stop.signal);
  const { kills, heal } = await strike(field, plan, victim);
  if (fleet.servers.length > 0) await pause(AFTER_MS);
  stop.abort();
  // What one process takes to come back is not waited for while another serves: the next fault may find it gone.
  const healed = heal().catch((error) => world.checker.fail("error", `it could not be healed: ${error}`));
  trailing.push(healed, load);
  if (plan.kind === "engine" || fleet.servers.length === 0) await healed;
  if (plan.kind !== "half-open") await load;
  await examine(world, fleet, dice.fork("examine"));
  checkAwake(field);
  return kills;
}

/** Waits until nearly all are up: a fault hits a fleet, not what is left of it. */
async function fleetUp({ world, fleet }: Field): Promise<void> {
  const { members } = fleet;
  const isUp = () =>
    members.filter(({ state }) => state !== "up").length <= 1 &&
    fleet.servers.length > 0 &&
    fleet.doing("work").length > 0;
  for (const deadline = Date.now() + MOST_UP_MS; !isUp(); await pause(10)) {
    if (Date.now() < deadline) continue;
    const found = world.checker.violations.map(({ kind, detail }) => `${kind}: ${detail}`).join("\n");
    throw new Error(`The fleet does not come up again.\n${found}`);
  }
}

/** The end: everything has ended, all of it is looked at, and after everyone was killed it is still the same. */
async function reckon(field: Field): Promise<void> {
  const { world, fleet } = field;
  for (const look of [examineAll, examineLists]) {
    await fleet.kill();
    // All at once, on a store that is there.
    await fleet.start();
    const callers = fleet.servers.map(({ caller }) => caller);
    await rest(world, callers[0]!);
    await look(world, callers.at(-1)!);
  }
  // The recorder's disk is the truth about what was promised, not our memory.
  const jobs = new Set(world.checker.jobs);
  const accepted = await world.readAccepted();
  world.recorded = accepted.length;
  for (const { id } of accepted) {
    if (!jobs.has(id)) world.checker.fail("error", `${id} was recorded but never looked at`);
  }
  world.checker.finish();
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
