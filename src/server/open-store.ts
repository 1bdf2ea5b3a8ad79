// Opens the store that a URL names. What only one kind of store needs is imported when that kind is asked for.

import type { Clock } from "../store/clock.ts";
import { openMemory } from "../store/memory.ts";
import type { Store } from "../store/store.ts";
import { filesOf, isShared, readStoreUrl, type StorePlace } from "./store-url.ts";

export interface OpenedStore {
  readonly store: Store;
  /** The folder of files where none is named; null: one that goes with the process. */
  readonly files: string | null;
  /** Whether servers on other machines may be using it too. */
  readonly shared: boolean;
}

export interface StoreSettings {
  readonly clock?: Clock;
  readonly onBroken: (error: Error) => void;
}

/** Rejects with `StoreUnusable` in one sentence where the store must not be used. */
export async function openStore(url: string, settings: StoreSettings): Promise<OpenedStore> {
  const place = readStoreUrl(url);
  return { store: await open(place, settings), files: filesOf(place), shared: isShared(place) };
}

async function open(place: StorePlace, settings: StoreSettings): Promise<Store> {
  const { clock } = settings;
  if (place.kind === "memory") return openMemory(clock === undefined ? {} : { clock });
  if (place.kind === "sqlite") {
    const { openSqlite } = await import("../store/sqlite/sqlite.ts");
    return await openSqlite({ file: place.file, ...settings });
  }
  const { kind, ...options } = place;
  if (kind === "postgres") {
    const { openPostgres } = await import("../store/postgres/postgres.ts");
    return await openPostgres({ ...options, ...settings });
  }
  const { openRedis } = await import("../store/redis/redis.ts");
  return await openRedis({ ...options, ...settings });
}
