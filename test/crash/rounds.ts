// Rounds that a cycle has no room for. Each first lets everything end, to have the fleet for itself.

import type { Caller } from "./caller.ts";
import type { Run } from "./evidence.ts";
import { rest } from "./examine.ts";
import type { Member } from "./fleet.ts";
import { runLoad } from "./load.ts";
import { LEASE_MS } from "./operations.ts";
import { type Field, stopOutsideOfLocks } from "./strikes.ts";
import type { World } from "./world.ts";

export type RoundName = keyof typeof ROUNDS;

/** By their names. */
export const ROUNDS = {
  rescue: rescueRound,
  identical: identicalRound,
  cancel: cancelRound,
  "late settle": lateSettleRound,
  shutdown: shutdownRound,
} satisfies Record<string, (field: Field) => Promise<void>>;

/** A lost worker's job begins again within this, counted from when its lease was over and a worker was there. */
const RESCUE_MS = 2000;

/** How long a run is looked for before it counts as never begun. */
const PATIENCE_MS = 12_000;

/** What a killed worker ran is run again in time: by the others, or by the one that takes its place. */
async function rescueRound(field: Field): Promise<void> {
  const { world } = field;
  const caller = await restedCaller(field);
  const jobs = await submitWork(world, caller, 3, 400);
  await seeRuns(world, (runs) => jobs.every((job) => runs.some((run) => run.job === job)));
  const victim = runnerOf(field, world.runs.find(({ job }) => job === jobs[0])!);
  const lost = world.runs.filter((run) => jobs.includes(run.job) && run.pid === victim.target.pid);
  await victim.kill();
  const killedAt = Date.now();
  const isAlone = field.fleet.doing("work").length === 0;
  await victim.start();
  const from = killedAt + LEASE_MS;
  for (const { job } of lost) await checkRescue(world, job, 1, isAlone ? Math.max(from, Date.now()) : from);
}

/** The same request 64 times at once to all servers: one job, and everyone is told of it. */
async function identicalRound(field: Field): Promise<void> {
  const { world, fleet } = field;
  await restedCaller(field);
  const errand = world.errand({ owner: "alice", operation: "work", by: "key", ms: 5 });
  const callers = fleet.servers.map(({ caller }) => caller);
  const replies = await Promise.all(
    Array.from({ length: 64 }, (_, at) => world.send(callers[at % callers.length]!, errand)),
  );
  const accepted = replies.filter(({ status }) => status === 202).length;
  if (accepted !== 64)
    world.checker.fail("error", `${accepted} of 64 identical requests at once were answered 202`);
}

/** A handler hears of a cancel that another process was asked for. */
async function cancelRound(field: Field): Promise<void> {
  const { world, fleet } = field;
  const caller = await restedCaller(field);
  const jobs = await submitWork(world, caller, 4, 20_000, "patient");
  await seeRuns(world, (runs) => jobs.every((job) => runs.some((run) => run.job === job)));
  const askedAt = new Map<string, number>();
  for (const job of jobs) {
    const { pid } = world.runs.find((run) => run.job === job)!;
    const elsewhere = fleet.servers.find(({ target }) => target.pid !== pid) ?? fleet.servers[0]!;
    askedAt.set(job, Date.now());
    await world.cancel(elsewhere.caller, job);
  }
  const all = async () => {
    const stops = await world.readStops();
    return jobs.every((job) => stops.has(job));
  };
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline && !(await all()); ) await pause(10);
  const stops = await world.readStops();
  for (const job of jobs) {
    const ms = (stops.get(job) ?? Number.POSITIVE_INFINITY) - askedAt.get(job)!;
    world.slowestCancelMs = Math.max(world.slowestCancelMs, ms);
    if (ms > LEASE_MS) world.checker.fail("late", `the handler of ${job} heard of its cancel after ${ms} ms`);
  }
}

/**
 * A worker is stopped for longer than its lease. Another runs its attempt again, and in the midst of that the stopped
 * one wakes and settles the old attempt. Then the other is killed: its attempt is run again in time, whoever else
 * remembers the job.
 */
async function lateSettleRound(field: Field): Promise<void> {
  const { world } = field;
  const caller = await restedCaller(field);
  const ms = 1500;
  const [job] = (await submitWork(world, caller, 1, ms)) as [string];
  const first = (await seeRunAfter(world, job, 0))!;
  const sleeper = runnerOf(field, first);
  const stoppedAt = await stopOutsideOfLocks(field, sleeper);
  const second = await checkRescue(world, job, 1, stoppedAt + LEASE_MS);
  // By then its handler is over, so its outcome is the first thing that it tells.
  await pause(Math.max(0, first.at + ms + 50 - Date.now()));
  sleeper.wake();
  if (second === null) return;
  await pause(300);
  const other = runnerOf(field, second);
  await other.kill();
  const asked = field.fleet.servers[0]!.caller;
  if ((await world.look(asked, job)) === 200 && !world.checker.isSettled(job)) {
    await checkRescue(world, job, second.attempt, Date.now() + LEASE_MS);
  }
  await other.start();
  await rest(world, field.fleet.servers[0]!.caller);
  await world.look(field.fleet.servers[0]!.caller, job);
}

/** SIGTERM while handlers run: it ends in peace, nothing counts as failed, and the leases are given back. */
async function shutdownRound(field: Field): Promise<void> {
  const { world, fleet, dice } = field;
  const caller = await restedCaller(field);
  const stop = new AbortController();
  // `lasting` hears no signal and holds a lease far longer than this test; `once` may fail only once, which is never.
  const jobs = [
    ...(await submitWork(world, caller, 3, 20_000, "lasting")),
    ...(await submitWork(world, caller, 3, 20_000, "once")),
  ];
  const began = await seeRuns(world, (runs) => jobs.every((job) => runs.some((run) => run.job === job)));
  if (!began) world.checker.fail("late", "jobs did not begin before the shutdown");
  const load = runLoad(world, fleet.balanced(dice.fork("balance")), dice, stop.signal);
  await pause(50);
  for (const member of [...fleet.doing("work")]) {
    world.checker.releases++;
    const { pid } = member.target;
    // Their second attempts end at once.
    const held = jobs.filter((job) => {
      const last = lastRunOf(world, job);
      return last?.pid === pid && last.attempt === 1;
    });
    member.target.signal("SIGTERM");
    const { code, output } = await member.target.ended;
    const isAlone = fleet.doing("work").length === 1;
    const endedAt = Date.now();
    if (isAlone) stop.abort();
    await member.end();
    if (code !== 0)
      world.checker.fail("error", `after SIGTERM the exit code was ${code}: ${output.slice(-500)}`);
    await member.start();
    const from = isAlone ? Date.now() : endedAt;
    for (const job of held) await checkRescue(world, job, 1, from);
  }
  stop.abort();
  await load;
}

/** One that answers, after all that was asked for has ended. */
async function restedCaller({ world, fleet }: Field): Promise<Caller> {
  for (const member of fleet.members) member.wake();
  const { caller } = fleet.servers[0]!;
  await rest(world, caller);
  return caller;
}

function runnerOf({ fleet }: Field, { pid }: Run): Member {
  return fleet.members.find(({ state, target }) => state !== "down" && target.pid === pid)!;
}

function lastRunOf(world: World, job: string): Run | undefined {
  return world.runs.findLast((run) => run.job === job);
}

async function submitWork(
  world: World,
  caller: Caller,
  count: number,
  ms: number,
  operation = "work",
): Promise<readonly string[]> {
  const errands = Array.from({ length: count }, () =>
    world.errand({ owner: "carol", operation, by: "key", ms }),
  );
  const sent = await Promise.all(errands.map((errand) => world.send(caller, errand)));
  return sent.flatMap(({ id }) => (id === null ? [] : [id]));
}

/** Waits for an attempt after this one to begin, and judges how long that took from when it was due. */
async function checkRescue(world: World, job: string, attempt: number, fromMs: number): Promise<Run | null> {
  const run = await seeRunAfter(world, job, attempt);
  world.checker.sawRescue(job, run === null ? null : Math.max(0, run.at - fromMs), RESCUE_MS);
  return run;
}

async function seeRunAfter(world: World, job: string, attempt: number): Promise<Run | null> {
  let found: Run | undefined;
  await seeRuns(world, (runs) => {
    found = runs.find((run) => run.job === job && run.attempt > attempt);
    return found !== undefined;
  });
  return found ?? null;
}

/** Waits until the handlers' record says so; false where it does not in time. */
async function seeRuns(world: World, isThere: (runs: readonly Run[]) => boolean): Promise<boolean> {
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await pause(10)) {
    await world.readRuns();
    if (isThere(world.runs)) return true;
  }
  return false;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
