// Asks the public API what became of everything: after each fault, and of all of it at the end.

import type { Caller } from "./caller.ts";
import type { Dice } from "./dice.ts";
import type { Fleet } from "./fleet.ts";
import { OWNERS, SMALL_QUOTA } from "./house.ts";
import { smallErrand } from "./load.ts";
import type { World } from "./world.ts";

const REPLAYS = 8;
const OTHER_PAYLOADS = 3;
const OLD_JOBS = 24;

// Far above what it takes: a store that never comes to rest fails the test by its jobs that have not ended.
const MOST_REST_MS = 40_000;

/** After a fault: what is open is resolved, what is new is looked at on every server, and some of what is old. */
export async function examine(world: World, fleet: Fleet, dice: Dice): Promise<void> {
  const callers = fleet.servers.map(({ caller }) => caller);
  const any = fleet.balanced(dice);
  await resolveOpen(world, any);
  const { jobs } = world.checker;
  const { fresh } = world;
  world.fresh = new Set();
  const old = Array.from({ length: Math.min(OLD_JOBS, jobs.length) }, () => dice.pick(jobs));
  await Promise.all([
    ...[...fresh].flatMap((id) => callers.map((caller) => lookOnce(world, caller, id))),
    ...old.map((id) => lookOnce(world, any, id)),
  ]);
  const { repeatable } = world;
  for (const errand of some(repeatable, REPLAYS, dice)) {
    world.count((await world.repeat(any, errand)).status, (status) => status === 202);
  }
  for (const errand of some(repeatable, OTHER_PAYLOADS, dice)) {
    world.count(await world.sendOther(any, errand), (status) => status === 422);
  }
  await checkQuota(world, any, dice);
  await world.readRuns();
}

/** A request without a whole reply became 0 or 1 jobs; repeated, twice at once, it is one. */
async function resolveOpen(world: World, caller: Caller): Promise<void> {
  await Promise.all(
    world.checker.unresolved.flatMap((ask) => {
      const errand = world.errandOf(ask);
      return [errand, errand].map(async (again) => {
        const { status } = await world.repeat(caller, again);
        // A quota may be full by now; then there was no job.
        world.count(status, (said) => said < 400 || (said === 429 && errand.owner === "small"));
      });
    }),
  );
}

/** With so many active, exactly so many more are let in, however many ask at once. */
async function checkQuota(world: World, caller: Caller, dice: Dice): Promise<void> {
  // One that is still on its way would be counted or not.
  if (world.underWay("small") > 0) return;
  const listed = await world.list(caller, "small", "queued,processing");
  if (listed === null) return world.count(null, () => true);
  const active = listed.length;
  const asked = SMALL_QUOTA - active + dice.whole(1, 3);
  const replies = await Promise.all(
    Array.from({ length: Math.max(1, asked) }, () => world.send(caller, smallErrand(world))),
  );
  for (const { status } of replies) world.count(status, (said) => said === 202 || said === 429);
  if (replies.some(({ status }) => status === null || status === 503)) return;
  const accepted = replies.filter(({ id }) => id !== null);
  world.checker.sawQuota(SMALL_QUOTA, active, replies.length, accepted.length);
  for (const { id } of accepted) if (id !== null && dice.chance(0.6)) await world.cancel(caller, id);
}

/** Lets everything come to its end. */
export async function rest(world: World, caller: Caller): Promise<void> {
  await resolveOpen(world, caller);
  const waiting = (await world.list(caller, "small", "queued,processing")) ?? [];
  await Promise.all(
    waiting.map((document) => {
      const { id } = JSON.parse(document) as { id: string };
      return world.checker.jobs.includes(id)
        ? world.cancel(caller, id)
        : caller.ask("small", "DELETE", `/jobs/${id}`);
    }),
  );
  const deadline = Date.now() + MOST_REST_MS;
  for (;;) {
    const active = await Promise.all(OWNERS.map((owner) => isActive(caller, owner)));
    if (!active.includes(true)) return;
    if (Date.now() > deadline) {
      world.checker.fail(
        "unsettled",
        `jobs are still active after ${MOST_REST_MS} ms in which nothing was asked`,
      );
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function isActive(caller: Caller, owner: string): Promise<boolean> {
  const reply = await caller.ask(owner, "GET", "/jobs?limit=1&status=queued,processing");
  return reply?.status !== 200 || (JSON.parse(reply.body) as { jobs: object[] }).jobs.length > 0;
}

/** Looks at everything: each job by its monitor and its result, and the listings. */
export async function examineAll(world: World, caller: Caller): Promise<void> {
  const jobs = [...world.checker.jobs];
  // As many at once as there are connections, so that no list of promises grows with the store.
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (let id = jobs.pop(); id !== undefined; id = jobs.pop()) await lookOnce(world, caller, id);
    }),
  );
  await examineLists(world, caller);
  await world.readRuns();
}

export async function examineLists(world: World, caller: Caller): Promise<void> {
  for (const owner of OWNERS) {
    const documents = await world.list(caller, owner);
    world.count(documents === null ? null : 200, () => true);
    if (documents !== null) world.checker.sawList(owner, documents);
  }
}

async function lookOnce(world: World, caller: Caller, id: string): Promise<void> {
  world.count(await world.look(caller, id), (status) => status === 200);
}

function some<Item>(items: readonly Item[], count: number, dice: Dice): readonly Item[] {
  return items.length === 0 ? [] : Array.from({ length: count }, () => dice.pick(items));
}
