// The load under which a server is killed: lanes that ask for one thing after another until the server is gone.

import type { Caller } from "./caller.ts";
import type { Dice } from "./dice.ts";
import { SMALL_QUOTA } from "./house.ts";
import type { Errand, World } from "./world.ts";

const LANES = 12;

const LOADING: readonly string[] = ["alice", "bob"];

// Between two requests of a lane. It bounds how many jobs a cycle makes, all of which are looked at again.
const MOST_PAUSE_MS = 24;

/** Runs until `signal` fires: the server is gone, or it was enough. */
export async function runLoad(world: World, caller: Caller, dice: Dice, signal: AbortSignal): Promise<void> {
  const lanes = Array.from({ length: LANES }, (_, lane) => {
    const own = dice.fork(`lane ${lane}`);
    const step = lane === 0 ? askSmall : askOne;
    return repeat(own, signal, () => step(world, caller, own));
  });
  await Promise.all(lanes);
}

async function repeat(dice: Dice, signal: AbortSignal, step: () => Promise<unknown>): Promise<void> {
  while (!signal.aborted) {
    await step();
    await new Promise((resolve) => setTimeout(resolve, dice.whole(0, MOST_PAUSE_MS)));
  }
}

async function askOne(world: World, caller: Caller, dice: Dice): Promise<unknown> {
  const owner = dice.pick(LOADING);
  const known = recent(world, dice);
  const what = dice.next();
  if (known !== undefined) {
    const id = world.checker.jobOf(known)!;
    const isRepeatable = known.key !== null || known.callersId !== null;
    if (what < 0.08 && isRepeatable) return world.repeat(caller, known);
    if (what < 0.11 && isRepeatable) return world.sendOther(caller, known);
    if (what < 0.19) return world.cancel(caller, id);
    if (what < 0.3) return world.look(caller, id);
  }
  const work = pickWork(dice);
  if (what < 0.4) return world.send(caller, world.errand({ owner, by: "nothing", ...work }));
  if (what < 0.5) return world.send(caller, world.errand({ owner, by: "id", ...work }));
  if (what < 0.56) {
    const short = { operation: "work", ms: dice.whole(0, 5), waitSeconds: 1 };
    return world.send(caller, world.errand({ owner, by: "key", ...short }));
  }
  const errand = world.errand({ owner, by: "key", ...work });
  // The same request twice at once: one id.
  if (what < 0.66) return Promise.all([world.send(caller, errand), world.send(caller, errand)]);
  return world.send(caller, errand);
}

/** Fills the small owner's quota with jobs that stay, and makes room again. */
async function askSmall(world: World, caller: Caller, dice: Dice): Promise<unknown> {
  const own = world.accepted.filter(({ owner }) => owner === "small").slice(-SMALL_QUOTA);
  if (own.length > 0 && dice.chance(0.4)) {
    return world.cancel(caller, world.checker.jobOf(dice.pick(own))!);
  }
  return world.send(caller, smallErrand(world));
}

/** A job that stays active for as long as the test runs. */
export function smallErrand(world: World): Errand {
  return world.errand({ owner: "small", operation: "work", by: "key", ms: 0, delaySeconds: 86_400 });
}

function pickWork(dice: Dice): { readonly operation: string; readonly ms: number } {
  const what = dice.next();
  if (what < 0.65) return { operation: "work", ms: dice.whole(0, 8) };
  if (what < 0.75) return { operation: "slow", ms: dice.whole(50, 200) };
  if (what < 0.85) return { operation: "retry", ms: 0 };
  if (what < 0.93) return { operation: "once", ms: dice.whole(0, 30) };
  return { operation: "doomed", ms: 0 };
}

function recent(world: World, dice: Dice): Errand | undefined {
  const { accepted } = world;
  const errand = accepted[accepted.length - 1 - dice.whole(0, 60)];
  return errand !== undefined && LOADING.includes(errand.owner) ? errand : undefined;
}
