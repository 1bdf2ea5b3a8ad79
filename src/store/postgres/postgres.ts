// The store in PostgreSQL, for many servers and workers.

import type { Clock } from "../clock.ts";
import { openRemote } from "../remote/remote.ts";
import type { Store } from "../store.ts";
import { open, type PostgresEngineOptions } from "./engine.ts";

export interface PostgresOptions extends PostgresEngineOptions {
  readonly clock?: Clock;
  /** Called once when the store can't go on; the process should end. */
  readonly onBroken?: (error: Error) => void;
}

/**
 * Opens (and makes, or migrates) the store in a database that is there.
 * @throws StoreUnusable in one sentence where it must not be used
 * @throws StoreUnavailable where the server can't be reached
 */
export async function openPostgres({ clock, onBroken, ...options }: PostgresOptions): Promise<Store> {
  const ending = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  return await openRemote({
    open,
    module: new URL(`./engine${ending}`, import.meta.url).href,
    options,
    ...(clock === undefined ? {} : { clock }),
    ...(onBroken === undefined ? {} : { onBroken }),
  });
}
