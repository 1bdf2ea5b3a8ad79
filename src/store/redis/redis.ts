// The store in Redis or Valkey: `openRedis` opens it, engine.ts keeps its rows.

import type { Clock } from "../clock.ts";
import { openRemote } from "../remote/remote.ts";
import type { Store } from "../store.ts";

export interface RedisOptions {
  /**
   * `redis://user:password@host:6379/0`, or `rediss:` for TLS. Further nodes of a cluster follow the first after commas; one is
   * enough, for it tells of the others.
   */
  readonly url: string;
  /** What all keys begin with, so that stores can share a server. Default "coatcheck". */
  readonly prefix?: string;
  /**
   * What must survive. `power`, the default, needs `appendonly yes` and `appendfsync always`: what was accepted is on the
   * server's disk. `process` takes `appendfsync everysec` too: the server may die, but a power cut takes the last second. Both are about one
   * server's disk: a replica that takes over has what had reached it, for Redis replicates after it has answered.
   */
  readonly durability?: "power" | "process";
  readonly clock?: Clock;
  /** Called once when the store can't go on; the process should end. */
  readonly onBroken?: (error: Error) => void;
}

/**
 * Opens the store, and makes it where there is none.
 * @throws StoreUnusable in one sentence: settings that lose jobs, a Redis older than 6.2, ioredis not installed
 * @throws StoreUnavailable where the server can't be reached, loads, or is a replica
 */
export async function openRedis({ clock, onBroken, ...options }: RedisOptions): Promise<Store> {
  const ending = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  return await openRemote({
    open: (await import("./engine.ts")).open,
    module: new URL(`./engine${ending}`, import.meta.url).href,
    options,
    ...(clock === undefined ? {} : { clock }),
    ...(onBroken === undefined ? {} : { onBroken }),
  });
}
