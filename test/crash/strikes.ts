// How each fault is done to a fleet under load, and undone.

import type { Dice } from "./dice.ts";
import type { Autopsy, Fleet, Member } from "./fleet.ts";
import { LEASE_MS } from "./operations.ts";
import type { Strike, Victim } from "./plan.ts";
import type { Ground } from "./stores.ts";
import type { World } from "./world.ts";

export interface Struck {
  /** Where processes were killed: what they were in the middle of. */
  readonly kills: readonly Autopsy[];
  /** Whom it hit; null: everyone. Nobody else may fail a request for it. */
  readonly victim: Member | null;
  /** What there is to do before the fleet is as it was. */
  heal(): Promise<void>;
}

export interface Field {
  readonly world: World;
  readonly fleet: Fleet;
  readonly ground: Ground;
  readonly dice: Dice;
}

// A point that the load does not come to, as when the machine is slow, becomes a kill from outside.
const MOST_LOAD_MS = 1000;

/** A server that gets no answer from its store must be told so, or find out, within this. */
const RECOVERY_MS = 25_000;

/** The one to be hit; chosen before the fault, so that the others can be held to their promises. */
export function pickVictim({ fleet, dice }: Field, strike: Strike): Member | null {
  if (strike.kind === "engine") return null;
  const of: Victim = strike.kind === "stop" ? "work" : strike.of;
  return dice.pick(fleet.doing(of));
}

/** Does it; resolves once the worst of it is over. */
export async function strike(field: Field, how: Strike, victim: Member | null): Promise<Struck> {
  if (how.kind === "engine") return strikeEngine(field, how);
  const member = victim!;
  const heal = () => member.start();
  switch (how.kind) {
    case "moment":
      await pause(how.afterMs);
      return { kills: [await member.kill()], victim, heal };
    case "point":
      member.dieAt(how.point, how.nth);
      await Promise.race([member.target.ended, pause(MOST_LOAD_MS)]);
      return { kills: [await member.kill()], victim, heal };
    case "start": {
      const first = await member.kill();
      await member.launch();
      await pause(how.afterMs);
      return { kills: [first, await member.kill()], victim, heal };
    }
    case "stop":
      await stopWorker(field, member);
      return { kills: [], victim, heal: async () => {} };
    default:
      return strikeWay(field, how, member);
  }
}

async function strikeEngine(
  { world, fleet, ground, dice }: Field,
  { afterMs, downMs }: Strike & { kind: "engine" },
): Promise<Struck> {
  await pause(afterMs);
  const insides = fleet.members.map(({ tap }) => tap?.inside ?? "other");
  const inside =
    insides.find((one) => one === "settle") ?? insides.find((one) => one === "accept") ?? "other";
  await ground.engine!.kill();
  await pause(downMs);
  return {
    kills: [{ inside, point: null }],
    victim: null,
    async heal() {
      await ground.engine!.start();
      await Promise.all(fleet.members.map((member) => awaken(world, member, dice)));
    },
  };
}

async function strikeWay(
  { world, dice }: Field,
  how: Extract<Strike, { lastsMs: number }>,
  member: Member,
): Promise<Struck> {
  const { tap } = member;
  const { proxy } = tap!;
  await pause(how.afterMs);
  if (how.kind === "cut") proxy.cut();
  else if (how.kind === "delay") proxy.delay(dice.whole(10, 100));
  else if (how.kind === "half-open") proxy.hush();
  const losing = how.kind === "lost reply" ? tap!.loseReply() : null;
  await pause(how.lastsMs);
  if (losing?.stop() === true) world.lostReplies++;
  proxy.mend();
  return { kills: [], victim: member, heal: () => awaken(world, member, dice) };
}

/**
 * Waits until a process is as before a fault that it lived through: one that answers must accept, one that works must be
 * heard of later, when there is work.
 */
async function awaken(world: World, member: Member, dice: Dice): Promise<void> {
  if (member.state !== "up") return;
  const from = Date.now();
  if (member.role !== "serve") member.mustRunFrom = from;
  if (member.role === "work") return;
  for (;;) {
    const errand = world.errand({ owner: "carol", operation: "work", by: "key", ms: dice.whole(0, 5) });
    const { status } = await world.send(member.caller, errand);
    if (status === 202) break;
    if (Date.now() - from > RECOVERY_MS) {
      world.checker.fail("late", `${member.name} accepts nothing ${RECOVERY_MS} ms after its store is back`);
      return;
    }
    await pause(20);
  }
  world.slowestRecoveryMs = Math.max(world.slowestRecoveryMs, Date.now() - from);
}

/** Those that work must have begun something since the fault they lived through. */
export function checkAwake({ world, fleet }: Field): void {
  for (const member of fleet.members) {
    const from = member.mustRunFrom;
    if (from === null) continue;
    const first = world.runs.find(({ pid, at }) => pid === member.target.pid && at >= from);
    if (first !== undefined) {
      world.slowestRecoveryMs = Math.max(world.slowestRecoveryMs, first.at - from);
      member.mustRunFrom = null;
    } else if (Date.now() - from > RECOVERY_MS) {
      world.checker.fail("late", `${member.name} runs nothing ${RECOVERY_MS} ms after its store is back`);
      member.mustRunFrom = null;
    }
  }
}

/** Stops a worker; it goes on by itself, later than its lease and its rescue take, while other cycles are under way. */
async function stopWorker(field: Field, member: Member): Promise<void> {
  await stopOutsideOfLocks(field, member);
  member.sleep(3 * LEASE_MS);
}

/**
 * Stops a process where it holds no lock. Where all have the one file, a process that is stopped inside of a transaction
 * keeps its only write lock, and nobody can write until it wakes. Behind a socket no such thing may happen.
 * Gives when it was stopped.
 */
export async function stopOutsideOfLocks({ world, fleet, ground }: Field, member: Member): Promise<number> {
  for (;;) {
    member.target.signal("SIGSTOP");
    member.state = "stopped";
    const stoppedAt = Date.now();
    const other = fleet.servers[0];
    if (ground.engine !== null || other === undefined) return stoppedAt;
    const probe = world.send(
      other.caller,
      world.errand({ owner: "alice", operation: "work", by: "key", ms: 0 }),
    );
    const wrote = await Promise.race([probe.then(() => true), pause(LEASE_MS / 2).then(() => false)]);
    if (wrote) return stoppedAt;
    member.wake();
    await probe;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
