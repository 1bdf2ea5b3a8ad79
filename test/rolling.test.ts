// Promise G3 under load: servers and workers are replaced one by one, and nobody who asks politely is turned away.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Build, build } from "./crash/build.ts";
import { type Caller, headerOf } from "./crash/caller.ts";
import { createDice, type Dice } from "./crash/dice.ts";
import { examineAll, rest } from "./crash/examine.ts";
import { Fleet, type Member } from "./crash/fleet.ts";
import { FLEET } from "./crash/house.ts";
import { STORES, type StoreName } from "./crash/stores.ts";
import { World } from "./crash/world.ts";

/** Far above what it takes; a test that hangs is to end. */
const MOST_MS = 300_000;

const LANES = 12;

/** A thousandth of them is more than are under way at the moment in which a server begins to refuse. */
const LEAST_REQUESTS = 10_000;

const LEAST_JOBS = 500;

let built: Build;

beforeAll(async () => {
  built = await build();
});

afterAll(() => built.remove());

test.each(Object.keys(STORES) as StoreName[])(
  "servers and workers on %s are replaced one by one, and no job is lost, no attempt fails and fewer than one in a thousand is told to come back",
  async (store) => {
    const folder = await mkdtemp(join(tmpdir(), "coatcheck-rolling-"));
    const dice = createDice(`rolling ${store}`);
    const ground = await STORES[store](folder);
    const world = await World.open(folder, dice.fork("world"));
    const fleet = new Fleet({ program: built.program("server"), folder, roles: FLEET, ground });
    const front = new Front(fleet, dice.fork("front"));
    const stop = new AbortController();
    try {
      await fleet.start();
      const lanes = Array.from({ length: LANES }, (_, at) =>
        ask(world, front, dice.fork(`lane ${at}`), stop.signal),
      );
      for (const member of fleet.members) await replace(world, member, front);
      while (front.asked < LEAST_REQUESTS) await pause(20);
      stop.abort();
      await Promise.all(lanes);
      const { caller } = fleet.servers[0]!;
      await rest(world, caller);
      await examineAll(world, caller);
      world.checker.finish();
      console.log(
        `rolling: ${store}: ${front.asked} requests, ${front.told503} told to come back, ${front.turned} sent to the other server, ${world.checker.jobs.length} jobs`,
      );
      expect(world.checker.violations).toEqual([]);
      expect(front.wrong).toEqual([]);
      expect(front.told503 / front.asked).toBeLessThan(0.001);
      expect(world.checker.jobs.length).toBeGreaterThan(LEAST_JOBS);
    } finally {
      stop.abort();
      await fleet.kill();
      await ground.close();
      await world.close();
      await rm(folder, { recursive: true, force: true });
    }
  },
  MOST_MS,
);

/** SIGTERM, its end in peace, and another in its place, which is at work for a while. */
async function replace(world: World, member: Member, front: Front): Promise<void> {
  world.checker.releases++;
  member.target.signal("SIGTERM");
  const { code, output } = await member.target.ended;
  if (code !== 0) throw new Error(`${member.name} ended with ${code}: ${output}`);
  await member.end();
  await member.start();
  front.isBack(member);
  await pause(300);
}

/** Submits and looks, one thing after another. */
async function ask(world: World, front: Caller, dice: Dice, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // Longer than the grace that a process gives its handlers, sometimes; and `once` may never fail.
    const ms = dice.chance(0.1) ? dice.whole(300, 600) : dice.whole(0, 5);
    const operation = dice.pick(["work", "once", "slow"]);
    const owner = dice.pick(["alice", "bob"]);
    const { id } = await world.send(front, world.errand({ owner, operation, by: "key", ms }));
    if (id === null) world.checker.fail("error", "a request was not accepted in the end");
    else for (let looks = dice.whole(0, 12); looks > 0; looks--) await world.look(front, id);
    await pause(dice.whole(0, 4));
  }
}

/** What stands before the servers, as a load balancer does: it sends nobody to one that refuses, and comes back when told to. */
class Front implements Caller {
  asked = 0;
  told503 = 0;
  turned = 0;
  /** Answers that nobody should get. */
  readonly wrong: string[] = [];
  readonly #fleet: Fleet;
  readonly #dice: Dice;
  readonly #away = new Set<Member>();

  constructor(fleet: Fleet, dice: Dice) {
    this.#fleet = fleet;
    this.#dice = dice;
  }

  isBack(member: Member): void {
    this.#away.delete(member);
  }

  async ask(...[owner, method, path, options]: Parameters<Caller["ask"]>): ReturnType<Caller["ask"]> {
    for (;;) {
      const servers = this.#fleet.servers.filter((member) => !this.#away.has(member));
      if (servers.length === 0) {
        await pause(5);
        continue;
      }
      const member = this.#dice.pick(servers);
      const reply = await member.caller.ask(owner, method, path, options);
      if (reply === null) {
        // All that is asked here may be asked twice.
        this.turned++;
        this.#away.add(member);
        continue;
      }
      this.asked++;
      if (reply.status < 500) return reply;
      // A 503 of the result of a job that failed would be none of the server's.
      const retryAfter = headerOf(reply, "retry-after");
      if (reply.status !== 503 || retryAfter === undefined) {
        this.wrong.push(`${method} ${path}: ${reply.status} ${reply.body}`);
        return reply;
      }
      this.told503++;
      this.#away.add(member);
    }
  }

  async close(): Promise<void> {}
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
