// Tiers: what owners may do, by name, as an operator writes it and as admission reads it.

import { type Duration, parseDuration } from "../core/duration.ts";
import type { Tier } from "../core/jobs.ts";

/** What an operator says of a tier. What is left out is as in `DEFAULT_TIER`; `null` is no limit. */
export interface TierOptions {
  /** Most queued and processing jobs of an owner. Default 1,000. */
  readonly active?: number | null;
  /** Most jobs of an owner that run at once. Default: no limit but the slots of the workers. */
  readonly running?: number | null;
  /** Submissions per window. Default 600 a minute, all of them at once if need be. */
  readonly rate?: { readonly quota: number; readonly window: Duration } | null;
  /** Added to the operation's priority, -100 to 100; higher starts first. Default 0. */
  readonly priority?: number;
  /** Share among the waiting owners of an operation, 1 to 1000. Default 1. */
  readonly weight?: number;
}

/** The tiers of a server, by name. There is always one named `default`. */
export type Tiers = ReadonlyMap<string, Tier>;

/** The tier of callers who have no other: room for a busy program, an end to a runaway one. */
export const DEFAULT_TIER: Tier = {
  name: "default",
  priority: 0,
  weight: 1,
  active: 1000,
  running: null,
  rate: { quota: 600, windowSeconds: 60 },
};

/**
 * Fills in what was left out. With `limits: "off"` every rate and quota is lifted; priorities and weights stay.
 *
 * @throws RangeError with one sentence where an option is wrong
 */
export function readTiers(
  options: Readonly<Record<string, TierOptions>> = {},
  limits: "on" | "off" = "on",
): Tiers {
  const tiers = new Map<string, Tier>([[DEFAULT_TIER.name, DEFAULT_TIER]]);
  for (const [name, tier] of Object.entries(options)) tiers.set(name, readTier(name, tier));
  if (limits === "on") return tiers;
  return new Map(
    [...tiers].map(([name, tier]) => [name, { ...tier, active: null, running: null, rate: null }]),
  );
}

/** One tier; throws a RangeError with one sentence where an option is wrong. */
export function readTier(name: string, options: TierOptions): Tier {
  if (!/^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?$/.test(name)) {
    throw new RangeError(
      `A tier's name is 1 to 64 lower-case letters, digits, hyphens and underscores; ${JSON.stringify(name)} is not.`,
    );
  }
  const { active, running, rate, priority, weight } = { ...DEFAULT_OPTIONS, ...options };
  return {
    name,
    priority: whole(priority, -100, 100, `${name}.priority`),
    weight: whole(weight, 1, 1000, `${name}.weight`),
    active: active === null ? null : whole(active, 1, MOST, `${name}.active`, NO_LIMIT),
    running: running === null ? null : whole(running, 1, MOST, `${name}.running`, NO_LIMIT),
    rate: rate === null ? null : readRate(name, rate),
  };
}

const MOST = 1_000_000_000;
const NO_LIMIT = ", or null for no limit";

const DEFAULT_OPTIONS = {
  active: DEFAULT_TIER.active,
  running: DEFAULT_TIER.running,
  rate: { quota: 600, window: "1m" },
  priority: DEFAULT_TIER.priority,
  weight: DEFAULT_TIER.weight,
} as const satisfies TierOptions;

function readRate(tier: string, rate: NonNullable<TierOptions["rate"]>): Tier["rate"] {
  if (typeof rate !== "object") {
    throw new RangeError(`${tier}.rate must be like { quota: 600, window: "1m" }, or null for no limit.`);
  }
  const windowMs = parseDuration(rate.window, `${tier}.rate.window`);
  // The RateLimit fields count in whole seconds.
  if (windowMs < 1000 || windowMs > 86_400_000 || windowMs % 1000 !== 0) {
    throw new RangeError(`${tier}.rate.window must be whole seconds, from 1 second to 1 day.`);
  }
  return { quota: whole(rate.quota, 1, 1_000_000, `${tier}.rate.quota`), windowSeconds: windowMs / 1000 };
}

function whole(value: unknown, least: number, most: number, what: string, or = ""): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`${what} must be a whole number from ${least} to ${most}${or}.`);
}
