// Moves everything from one store to another, both named by URL.

import { existsSync } from "node:fs";
import { MoveRefused, moveStore } from "../store/move.ts";
import { openStore } from "./open-store.ts";
import { readStoreUrl } from "./store-url.ts";

export interface Migration {
  /** URLs of stores, as in the configuration. */
  readonly from: string;
  readonly to: string;
  /** Told after each part: how many jobs are there by now, of how many. */
  readonly onProgress?: (moved: number, jobs: number) => void;
}

/**
 * Carries jobs, keys, results and history over; gives how many jobs there are, and what both stores are called.
 * @throws MoveRefused, StoreUnusable or StoreUnavailable, each in one sentence
 */
export async function migrate({ from, to, onProgress }: Migration): Promise<{
  readonly jobs: number;
  readonly from: string;
  readonly to: string;
  /** Where the files of the source lie if its configuration names no folder. */
  readonly files: string | null;
}> {
  const source = readStoreUrl(from, "--from");
  const target = readStoreUrl(to, "--to");
  if (source.kind === "memory" || target.kind === "memory")
    throw new MoveRefused("A store in memory goes with its process: there is nothing to move.");
  // Opened, it would be made.
  if (source.kind === "sqlite" && !existsSync(source.file))
    throw new MoveRefused(`There is no store to move: ${source.file} does not exist.`);
  let broken: Error | null = null;
  const onBroken = (error: Error) => {
    broken = error;
  };
  const opened = await openStore(from, { onBroken });
  try {
    const { store } = await openStore(to, { onBroken });
    try {
      const { jobs } = await moveStore(opened.store, store, onProgress === undefined ? {} : { onProgress });
      return { jobs, from: opened.store.name, to: store.name, files: opened.files };
    } catch (error) {
      throw broken ?? error;
    } finally {
      await store.close();
    }
  } finally {
    await opened.store.close();
  }
}
