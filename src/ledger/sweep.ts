// Keeps the house in order: lapsed leases are rescued, what has expired goes, and with it its files.

import { performance } from "node:perf_hooks";
import type { Blobs } from "../blob/blobs.ts";
import type { Store } from "../store/store.ts";

/** Bounds how late a rescue, a start deadline or an expiry is noticed. */
const SWEEP_EVERY_MS = 500;

/** How much sooner it may be: so the sweeps of several processes on one store fall apart, and most of them find nothing to do. */
const SOONER = 0.25;

/** Changes in one transaction, so that no commit of callers waits long behind it. */
const SWEEP_LIMIT = 500;

/** Files without a job are looked for at the start and then this often. */
const ORPHANS_EVERY_MS = 3600_000;

/** Younger files may belong to a request that is still on its way in. */
const ORPHAN_AGE_MS = 3600_000;

const ORPHAN_PAGE = 500;

export interface Sweep {
  /** Sweeps now, until nothing more is due. */
  run(): Promise<void>;
  /** Waits for what is under way and ends it. */
  close(): Promise<void>;
}

export function createSweep(store: Store, blobs: Blobs | null, onError: (error: unknown) => void): Sweep {
  let underWay: Promise<void> | null = null;
  let closed = false;
  const openedAt = Date.now() - performance.now();

  // One that can't be removed now keeps none from being removed; `collect` finds it again.
  const remove = async (address: string) => {
    await blobs?.remove(address).catch(onError);
  };
  const sweep = async () => {
    for (let more = true; more && !closed; ) {
      const swept = await store.write({ do: "sweep", limit: SWEEP_LIMIT });
      if (!("did" in swept)) return;
      more = swept.more;
      // After the commit: a crash in between leaves files without a job, which `collect` finds.
      for (const address of swept.gone) await remove(address);
    }
  };
  const collect = async () => {
    if (blobs === null || closed) return;
    // A wall clock that was set forward makes no file older than it is.
    const before = Math.min(Date.now(), openedAt + performance.now()) - ORPHAN_AGE_MS;
    let page: string[] = [];
    const check = async () => {
      const alive = await store.read({ get: "alive", addresses: page });
      for (const [index, address] of page.entries()) if (alive[index] !== true) await remove(address);
      page = [];
    };
    for await (const { address, changedAt } of blobs.addresses()) {
      if (closed) return;
      if (changedAt < before) page.push(address);
      if (page.length === ORPHAN_PAGE) await check();
    }
    if (page.length > 0) await check();
  };
  const run = (): Promise<void> => {
    underWay ??= sweep().finally(() => (underWay = null));
    return underWay;
  };

  const sweeping = setInterval(() => run().catch(onError), sooner(SWEEP_EVERY_MS));
  let collected = collect().catch(onError);
  const collecting = setInterval(() => {
    collected = collected.then(collect).catch(onError);
  }, sooner(ORPHANS_EVERY_MS));
  sweeping.unref();
  // A server that is killed again and again must get to it.
  run().catch(onError);
  collecting.unref();

  return {
    run,
    async close() {
      closed = true;
      clearInterval(sweeping);
      clearInterval(collecting);
      await collected;
      await underWay?.catch(() => {});
    },
  };
}

function sooner(ms: number): number {
  return ms * (1 - SOONER * Math.random());
}
