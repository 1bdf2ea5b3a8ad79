// Model-based tests of the port `Store`: what callers and workers may do, drawn at random, one after another and at once,
// and every answer held against the promises. A list that fails is made as short as it can be.

import type FastCheck from "fast-check";
import { describe, it } from "vitest";
import { createClock } from "../store/clock.ts";
import { Broken } from "./model/known.ts";
import { play, type Stage } from "./model/play.ts";
import { type Step, stepsArbitrary } from "./model/steps.ts";
import type { StoreFactory, StoreUnderTest } from "./store.ts";

export interface ModelOptions {
  /** How many lists of steps are played, where `COATCHECK_MODEL_RUNS` does not say. Default 300. */
  readonly runs?: number;
  /** Draws the same lists again. Default `COATCHECK_MODEL_SEED`, or another one each time. */
  readonly seed?: number;
  /** Where in them the one that failed lies. Default `COATCHECK_MODEL_PATH`. */
  readonly path?: string;
  /** Most steps of a list. Default 24. */
  readonly steps?: number;
  /** Whether a list that fails is made as short as it can be. Default true. */
  readonly shorten?: boolean;
}

const DEFAULT_RUNS = 300;
const DEFAULT_STEPS = 24;
const TIMEOUT_MS = 30 * 60 * 1000;

/** Declares the test: `storeModel("memory", async ({ clock }) => ({ store, close }))`. Needs the package "fast-check". */
export function storeModel(name: string, factory: StoreFactory, options: ModelOptions = {}): void {
  describe(`model: ${name}`, () => {
    it(
      "whatever callers, workers, clocks and crashes do, in any order and at once, every promise is kept",
      async () => {
        const failure = await modelFailure(factory, options);
        if (failure !== null) throw new Error(`The ${name} store breaks a promise.\n${failure}`);
      },
      TIMEOUT_MS,
    );
  });
}

/** Plays, and tells what breaks a promise: the sentence, the seed, and the shortest list found; null where nothing does. */
export async function modelFailure(
  factory: StoreFactory,
  options: ModelOptions = {},
): Promise<string | null> {
  const fc = await loadFastCheck();
  const { COATCHECK_MODEL_RUNS, COATCHECK_MODEL_SEED, COATCHECK_MODEL_PATH } = process.env;
  const seed = options.seed ?? numberOf(COATCHECK_MODEL_SEED);
  const path = options.path ?? COATCHECK_MODEL_PATH;
  const theatre = new Theatre(factory);
  const property = fc.asyncProperty(stepsArbitrary(fc, options.steps ?? DEFAULT_STEPS), (steps) =>
    theatre.play(steps),
  );
  try {
    const run = await fc.check(property, {
      numRuns: numberOf(COATCHECK_MODEL_RUNS) ?? options.runs ?? DEFAULT_RUNS,
      ...(seed === undefined ? {} : { seed }),
      ...(path === undefined || path === "" ? {} : { path }),
      endOnFailure: options.shorten === false,
    });
    if (!run.failed) return null;
    const { counterexample, counterexamplePath, errorInstance } = run;
    const replay = `COATCHECK_MODEL_SEED=${run.seed} COATCHECK_MODEL_PATH=${counterexamplePath} npx vitest run <this file>`;
    const error = errorInstance instanceof Broken ? errorInstance.message : (errorInstance as Error)?.stack;
    const steps = (counterexample?.[0] ?? []).map((step: Step) => `  ${JSON.stringify(step)}`);
    return [error, "After:", ...steps, "Replay:", `  ${replay}`].join("\n");
  } finally {
    await theatre.close();
  }
}

/** Keeps one store open for many lists, until one fails on it. */
class Theatre {
  readonly #factory: StoreFactory;
  #open: { readonly under: StoreUnderTest; readonly stage: Stage } | null = null;

  constructor(factory: StoreFactory) {
    this.#factory = factory;
  }

  async play(steps: readonly Step[]): Promise<void> {
    this.#open ??= await this.#setUp();
    try {
      await play(this.#open.stage, steps);
    } catch (error) {
      // What it left behind is nobody's concern: the next list gets an empty store.
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    if (open === null) return;
    await Promise.all(open.stage.instances.slice(1).map((store) => store.close()));
    await open.under.close();
  }

  async #setUp() {
    const clock = createClock();
    const under = await this.#factory({ clock });
    const instances = [under.store];
    if (under.another !== undefined) instances.push(await under.another());
    const reopen = under.reopen?.bind(under);
    const crash = under.crash?.bind(under);
    return { under, stage: { clock, instances, reopen, crash, lastSeq: 0 } };
  }
}

async function loadFastCheck(): Promise<typeof FastCheck> {
  try {
    return (await import("fast-check")).default;
  } catch {
    throw new Error('The model needs the package "fast-check": npm install --save-dev fast-check');
  }
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined || text === "" ? undefined : Number(text);
}
