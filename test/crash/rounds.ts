// Rounds that a cycle has no room for: a worker's loss in full length, two servers on one file, a process that is
// stopped and comes back, and a shutdown under load. Each first lets everything end, to have the servers for itself.

import type { Caller } from "./caller.ts";
import { createCaller } from "./caller.ts";
import type { Dice } from "./dice.ts";
import type { Run } from "./evidence.ts";
import { rest } from "./examine.ts";
import { runLoad } from "./load.ts";
import { LEASE_MS } from "./operations.ts";
import { startTarget, type Target } from "./target.ts";
import type { World } from "./world.ts";

export type RoundName = "rescue" | "pair" | "late settle" | "shutdown";

/** A lost worker's job begins again within this, counted from when its lease was over and a server was there. */
const RESCUE_MS = 2000;

/** How long a run is looked for before it counts as never begun. */
const PATIENCE_MS = 12_000;

/** A worker that is busy with nothing else: the attempts of a killed process are run again in time. */
export async function rescueRound(world: World, program: string): Promise<void> {
  const first = await serve(program, world);
  await rest(world, first.caller);
  const jobs = await submitWork(world, first.caller, 2, 150);
  await seeRuns(world, (runs) => jobs.every((job) => runs.some((run) => run.job === job)));
  await kill(first);
  const killedAt = Date.now();
  const second = await serve(program, world);
  const from = Math.max(killedAt + LEASE_MS, Date.now());
  for (const job of jobs) await checkRescue(world, job, 1, from);
  await rest(world, second.caller);
  await kill(second);
}

/** Two servers on one file: a key is one job on both, a 202 of one is known to the other, and either may die. */
export async function pairRound(world: World, program: string, dice: Dice): Promise<void> {
  const [one, two] = await Promise.all([serve(program, world), serve(program, world)]);
  await rest(world, one.caller);
  const errand = world.errand({ owner: "alice", operation: "work", by: "key", ms: 5 });
  const replies = await Promise.all(
    Array.from({ length: 64 }, (_, at) => world.send(at % 2 === 0 ? one.caller : two.caller, errand)),
  );
  const accepted = replies.filter(({ status }) => status === 202).length;
  if (accepted !== 64)
    world.checker.fail("error", `${accepted} of 64 identical requests at once were answered 202`);
  const stop = new AbortController();
  const loads = [one, two].map(({ caller }, at) =>
    runLoad(world, caller, dice.fork(`server ${at}`), stop.signal),
  );
  await pause(150);
  await kill(one);
  // What the dead one promised the living one knows, and at once.
  const jobs = [...world.fresh];
  const looks = await Promise.all(jobs.slice(-64).map((id) => world.look(two.caller, id)));
  for (const status of looks) world.count(status, (said) => said === 200);
  stop.abort();
  await Promise.all(loads);
  await rest(world, two.caller);
  await kill(two);
}

/**
 * A process is stopped for longer than its lease. The other server runs its attempt again, and in the midst of that the
 * stopped one wakes and settles the old attempt. Then the other is killed: its attempt is run again in time, whoever else
 * remembers the job.
 */
export async function lateSettleRound(world: World, program: string): Promise<void> {
  const servers = await Promise.all([serve(program, world), serve(program, world)]);
  await rest(world, servers[0].caller);
  const ms = 1500;
  const [job] = (await submitWork(world, servers[0].caller, 1, ms)) as [string];
  const first = (await seeRunAfter(world, job, 0))!;
  const sleeper = servers.find(({ target }) => target.pid === first.pid)!;
  const other = servers.find((server) => server !== sleeper)!;
  const stoppedAt = await stopBetweenCommits(world, sleeper, other);
  const second = await checkRescue(world, job, 1, stoppedAt + LEASE_MS);
  // By then its handler is over, so its outcome is the first thing that it tells.
  await pause(Math.max(0, first.at + ms + 50 - Date.now()));
  sleeper.target.signal("SIGCONT");
  if (second !== null) await pause(300);
  await kill(other);
  if (second !== null && (await world.look(sleeper.caller, job)) === 200 && !world.checker.isSettled(job)) {
    await checkRescue(world, job, second.attempt, Date.now() + LEASE_MS);
  }
  await rest(world, sleeper.caller);
  await world.look(sleeper.caller, job);
  await kill(sleeper);
}

/** SIGTERM while handlers run: it ends in peace, nothing counts as failed, and the leases are given back. */
export async function shutdownRound(world: World, program: string, dice: Dice): Promise<void> {
  const first = await serve(program, world);
  await rest(world, first.caller);
  const stop = new AbortController();
  // `lasting` hears no signal and holds a lease far longer than this test; `once` may fail only once, which is never.
  const jobs = [
    ...(await submitWork(world, first.caller, 2, 20_000, "lasting")),
    ...(await submitWork(world, first.caller, 2, 20_000, "once")),
  ];
  const began = await seeRuns(world, (runs) => jobs.every((job) => runs.some((run) => run.job === job)));
  if (!began) world.checker.fail("late", "jobs did not begin before the shutdown");
  const load = runLoad(world, first.caller, dice, stop.signal);
  await pause(50);
  world.checker.releases++;
  first.target.signal("SIGTERM");
  const { code, output } = await first.target.ended;
  stop.abort();
  await load;
  await first.caller.close();
  await first.target.autopsy();
  if (code !== 0)
    world.checker.fail("error", `after SIGTERM the exit code was ${code}: ${output.slice(-500)}`);
  const second = await serve(program, world);
  const from = Date.now();
  for (const job of jobs) await checkRescue(world, job, 1, from);
  await rest(world, second.caller);
  await kill(second);
}

/**
 * Stops a process where it holds no lock: stopped inside of a transaction it would keep the file's only write lock, and
 * nobody could write until it wakes. Gives when it was stopped.
 */
async function stopBetweenCommits(world: World, sleeper: Served, other: Served): Promise<number> {
  for (;;) {
    sleeper.target.signal("SIGSTOP");
    const stoppedAt = Date.now();
    const probe = world.send(
      other.caller,
      world.errand({ owner: "alice", operation: "work", by: "key", ms: 0 }),
    );
    const wrote = await Promise.race([probe.then(() => true), pause(LEASE_MS / 2).then(() => false)]);
    if (wrote) return stoppedAt;
    sleeper.target.signal("SIGCONT");
    await probe;
  }
}

interface Served {
  readonly target: Target;
  readonly caller: Caller;
}

async function serve(program: string, world: World): Promise<Served> {
  const target = startTarget(program, world.folder);
  return { target, caller: createCaller(await target.port) };
}

async function kill({ target, caller }: Served): Promise<void> {
  target.signal("SIGKILL");
  await target.autopsy();
  await caller.close();
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
