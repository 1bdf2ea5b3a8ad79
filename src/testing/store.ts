// The suite of the port `Store`: what every store promises, for vitest.

import { afterAll, beforeAll, describe, it } from "vitest";
import { type Clock, createClock } from "../store/clock.ts";
import type { Store } from "../store/store.ts";
import { accepting } from "./store/accepting.ts";
import { claiming } from "./store/claiming.ts";
import { type Case, Desk } from "./store/desk.ts";
import { keeping } from "./store/keeping.ts";
import { lasting } from "./store/lasting.ts";
import { moving } from "./store/moving.ts";
import { reading } from "./store/reading.ts";
import { working } from "./store/working.ts";

/** A store to test. */
export interface StoreUnderTest {
  readonly store: Store;
  /** Opens the same store anew after it was closed. Only a store of durability `process` may go without. */
  reopen?(): Promise<Store>;
  /** Opens what a process that died just now, without closing it, would have left. `store` is not used any more. */
  crash?(): Promise<Store>;
  /** Opens the same jobs once more beside it, as another process would; whoever asks for it closes it. */
  another?(): Promise<Store>;
  /** Closes it, wherever it stands, and leaves nothing behind. */
  close(): Promise<void>;
}

/** Opens a new, empty store that decides by this clock. */
export type StoreFactory = (options: { readonly clock: Clock }) => Promise<StoreUnderTest>;

const GROUPS: Readonly<Record<string, readonly Case[]>> = {
  accepting,
  claiming,
  working,
  lasting,
  reading,
  keeping,
  moving,
};

/** What every store keeps, sentence by sentence, by what it is about. */
export const STORE_SENTENCES: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries(GROUPS).map(([group, cases]) => [group, cases.map(({ title }) => title)]),
);

/**
 * Declares the suite: `storeSuite("memory", async ({ clock }) => ({ store, close }))`. Cases that count the whole store
 * or end it get one of their own; the others share one, each with its own owner and operation.
 */
export function storeSuite(name: string, factory: StoreFactory): void {
  describe(`store: ${name}`, () => {
    const clock = createClock();
    let shared: StoreUnderTest;
    beforeAll(async () => {
      shared = await factory({ clock });
    });
    afterAll(() => shared.close());

    for (const [group, cases] of Object.entries(GROUPS)) {
      describe(group, () => {
        for (const { title, alone, run } of cases) {
          if (alone) it(title, () => runAlone(factory, run));
          else it(title, () => runOn(shared, clock, factory, run));
        }
      });
    }
  });
}

async function runAlone(factory: StoreFactory, run: Case["run"]): Promise<void> {
  const clock = createClock();
  const own = await factory({ clock });
  try {
    await runOn(own, clock, factory, run);
  } finally {
    await own.close();
  }
}

async function runOn(
  { store, reopen, another }: StoreUnderTest,
  clock: Clock,
  factory: StoreFactory,
  run: Case["run"],
): Promise<void> {
  const empty = () => factory({ clock });
  const desk = new Desk(store, clock, reopen, another === undefined ? { empty } : { another, empty });
  try {
    await run(desk);
  } finally {
    await desk.end();
  }
}
