// How long an operation's recent runs took, and what follows for a run that is still going.
//
// A histogram with logarithmic buckets, 32 to the doubling (2.2 % wide), in which older runs fade: half of a run's
// weight is gone 32 runs or seven days later. That is short enough to follow a drift and long enough to know a tail.
// The plan of polls is worked out once for each histogram, when the first estimate asks for it.

/** Plain JSON, immutable, and small: one pair of numbers for each of some tens of buckets. */
export interface Durations {
  /** When the last run was learned, in ms since 1970. */
  readonly at: number;
  /** Bucket and weight in turn, by rising bucket. */
  readonly buckets: readonly number[];
}

/** An operation that has not run yet. */
export function emptyDurations(): Durations {
  return EMPTY;
}

/** Adds the run of an attempt that settled, however it ended: who waits wants to know when, not how. */
export function learn(durations: Durations, runMs: number, now: number): Durations {
  const keep = KEPT_BY_A_RUN * fading(now - durations.at);
  return combined(durations.buckets, keep, [bucketOf(runMs), 1], Math.max(now, durations.at));
}

/** Adds many runs in the order in which they ended: the same as learning each, for the price of a few. */
export function learnAll(durations: Durations, runsMs: readonly number[], now: number): Durations {
  if (runsMs.length === 0) return durations;
  const weights = new Map<number, number>();
  let weight = 1;
  for (let at = runsMs.length - 1; at >= 0 && weight >= LEAST_WEIGHT; at--) {
    const bucket = bucketOf(runsMs[at] as number);
    weights.set(bucket, (weights.get(bucket) ?? 0) + weight);
    weight *= KEPT_BY_A_RUN;
  }
  const keep = KEPT_BY_A_RUN ** runsMs.length * fading(now - durations.at);
  const learned = [...weights].sort(([one], [other]) => one - other).flat();
  return combined(durations.buckets, keep, learned, Math.max(now, durations.at));
}

/** What two servers learned apart. */
export function mergeDurations(one: Durations, other: Durations): Durations {
  const [newer, older] = one.at >= other.at ? [one, other] : [other, one];
  return combined(older.buckets, fading(newer.at - older.at), newer.buckets, newer.at);
}

/** The duration in ms that the share `q` (0..1) of the runs does not exceed; null when nothing is known. */
export function quantile(durations: Durations, q: number): number | null {
  const table = tableOf(durations);
  return table === null ? null : durationAt(table, q * table.total);
}

/** The mean run in ms; null when nothing is known. */
export function meanMs(durations: Durations): number | null {
  return tableOf(durations)?.meanMs ?? null;
}

/**
 * How much longer a run takes that has taken `elapsedMs` already: the quantile `q` of what is left of the runs that took
 * longer than this. A run beyond all that is known is taken to go on for a part of its length. Null when nothing is known.
 */
export function remaining(durations: Durations, elapsedMs: number, q: number): number | null {
  const table = tableOf(durations);
  if (table === null) return null;
  const done = weightBelow(table, elapsedMs);
  if (done >= table.total) return overdueMs(elapsedMs, table.longestMs);
  return Math.max(0, durationAt(table, done + (table.total - done) * q) - elapsedMs);
}

/**
 * How long to wait before the next look at a run that has taken `elapsedMs`, so that looks and lateness together cost least
 * over all runs like the known ones. Null when nothing is known.
 */
export function untilNextLookMs(durations: Durations, elapsedMs: number): number | null {
  const table = tableOf(durations);
  if (table === null) return null;
  const index = bucketAfter(table, elapsedMs);
  if (index === table.length) return overdueMs(elapsedMs, table.longestMs);
  table.looks ??= planLooks(table);
  return (table.looks[index] as number) - elapsedMs;
}

/**
 * A run that outlived what was expected of it is looked at soon, and then ever later: it may be the start of a drift by a
 * few percent or the tail of a heavy-tailed law, and the excess itself is the best measure of which.
 */
export function overdueMs(elapsedMs: number, expectedMs: number): number {
  return elapsedMs * Math.min(0.5, Math.max(0.04, elapsedMs / expectedMs - 1));
}

const BUCKETS_PER_DOUBLING = 32;
const KEPT_BY_A_RUN = 2 ** (-1 / 32);
const HALF_LIFE_MS = 7 * 86_400_000;
/** What weighs less is forgotten: after five half-lives, and before rounding to thousandths would keep it for ever. */
const LEAST_WEIGHT = 0.03;
const LONGEST_MS = 1e12;
const EMPTY: Durations = Object.freeze({ at: 0, buckets: Object.freeze([]) });

/**
 * What lateness costs in looks: one look is worth 2.2 % of the run's duration. At this rate runs that spread by 10 %
 * (log-normal) cost fewer than 2.5 looks and 5 %, the aim for both. No schedule of looks meets both aims for runs that
 * spread much wider; there, this rate divides the loss.
 */
const LOOKS_PER_LATENESS = 45;

/** Retry-After is in whole seconds, so nothing shorter can be looked at in time, nor be late in proportion. */
const SHORTEST_LOOK_MS = 1000;

/** How far (in natural logarithms, divided by the known runs) a run's weight is spread, so that one run is no law. */
const SPREAD = 0.4;

function fading(ageMs: number): number {
  // A clock that steps back fades nothing.
  return ageMs > 0 ? 2 ** (-ageMs / HALF_LIFE_MS) : 1;
}

function bucketOf(ms: number): number {
  return ms > 1 ? Math.floor(Math.log2(Math.min(ms, LONGEST_MS)) * BUCKETS_PER_DOUBLING) : 0;
}

/** The old buckets times `keep` and the new ones, merged by rising bucket. */
function combined(old: readonly number[], keep: number, added: readonly number[], at: number): Durations {
  const buckets: number[] = [];
  let i = 0;
  let j = 0;
  while (i < old.length || j < added.length) {
    const left = i < old.length ? (old[i] as number) : Number.POSITIVE_INFINITY;
    const right = j < added.length ? (added[j] as number) : Number.POSITIVE_INFINITY;
    let weight = 0;
    if (left <= right) {
      weight += (old[i + 1] as number) * keep;
      i += 2;
    }
    if (right <= left) {
      weight += added[j + 1] as number;
      j += 2;
    }
    if (weight >= LEAST_WEIGHT) buckets.push(Math.min(left, right), Math.round(weight * 1000) / 1000);
  }
  return { at, buckets };
}

/** What estimates ask of a histogram, in the form that answers in a fraction of a microsecond. */
interface Table {
  readonly length: number;
  /** Where each bucket begins and ends. */
  readonly fromMs: readonly number[];
  readonly toMs: readonly number[];
  /** The weight below each bucket; the last entry is `total`. */
  readonly below: readonly number[];
  readonly total: number;
  readonly meanMs: number;
  readonly longestMs: number;
  /** When to look next at a run that is in this bucket and not done; worked out when first asked for. */
  looks: readonly number[] | null;
}

const tables = new WeakMap<Durations, Table>();

function tableOf(durations: Durations): Table | null {
  if (durations.buckets.length === 0) return null;
  let table = tables.get(durations);
  if (table === undefined) {
    table = tabulate(spread(durations.buckets));
    tables.set(durations, table);
  }
  return table;
}

function tabulate(buckets: readonly number[]): Table {
  const fromMs: number[] = [];
  const toMs: number[] = [];
  const below: number[] = [0];
  let total = 0;
  let sum = 0;
  for (let at = 0; at < buckets.length; at += 2) {
    const bucket = buckets[at] as number;
    const weight = buckets[at + 1] as number;
    const from = STARTS_MS[bucket] as number;
    const to = STARTS_MS[bucket + 1] as number;
    fromMs.push(from);
    toMs.push(to);
    total += weight;
    below.push(total);
    sum += (weight * (from + to)) / 2;
  }
  const length = fromMs.length;
  return {
    length,
    fromMs,
    toMs,
    below,
    total,
    meanMs: sum / total,
    longestMs: toMs[length - 1] as number,
    looks: null,
  };
}

/** Where each bucket begins, for powers are dear. Further than runs can fall, as far as weights can be spread. */
const STARTS_MS = Float64Array.from(
  { length: bucketOf(LONGEST_MS) + 2 + BUCKETS_PER_DOUBLING },
  (_, bucket) => {
    return 2 ** (bucket / BUCKETS_PER_DOUBLING);
  },
);

/** Spreads each weight over its neighbours in a triangle, the wider the fewer runs are known. */
function spread(buckets: readonly number[]): readonly number[] {
  let total = 0;
  for (let at = 1; at < buckets.length; at += 2) total += buckets[at] as number;
  const reach = Math.min(
    BUCKETS_PER_DOUBLING,
    Math.round((SPREAD / total / Math.LN2) * BUCKETS_PER_DOUBLING),
  );
  if (reach === 0) return buckets;
  const last = buckets[buckets.length - 2] as number;
  const first = Math.max(0, (buckets[0] as number) - reach);
  const weights = new Float64Array(last + reach + 1 - first);
  for (let at = 0; at < buckets.length; at += 2) {
    const share = (buckets[at + 1] as number) / (reach + 1) ** 2;
    for (let by = -reach; by <= reach; by++) {
      const index = Math.max(0, (buckets[at] as number) + by - first);
      weights[index] = (weights[index] as number) + share * (reach + 1 - Math.abs(by));
    }
  }
  const wide: number[] = [];
  for (let index = 0; index < weights.length; index++) {
    const weight = weights[index] as number;
    if (weight > 0) wide.push(first + index, weight);
  }
  return wide;
}

/**
 * The cheapest schedule of looks, from the last bucket back (dynamic programming): a look at the end of bucket j by a run
 * that was not done before bucket i costs one look for every run that is left, and the lateness of those that
 * ended in between; what remains after j is known already.
 */
function planLooks({ length, fromMs, toMs, below, total }: Table): readonly number[] {
  const looks = new Array<number>(length).fill(SHORTEST_LOOK_MS);
  const cost = new Array<number>(length + 1).fill(0);
  // What ends within the shortest look is seen at its end, whatever comes after.
  let first = 0;
  while (first + 1 < length && (toMs[first] as number) <= SHORTEST_LOOK_MS) first++;
  for (let i = length - 1; i >= first; i--) {
    const left = total - (below[i] as number);
    let least = Number.POSITIVE_INFINITY;
    let ended = 0;
    let endedPerMs = 0;
    for (let j = i; j < length; j++) {
      const weight = (below[j + 1] as number) - (below[j] as number);
      const to = Math.max(SHORTEST_LOOK_MS, toMs[j] as number);
      ended += weight;
      endedPerMs += weight / Math.max(SHORTEST_LOOK_MS, ((fromMs[j] as number) + to) / 2);
      const paid = left + LOOKS_PER_LATENESS * Math.max(0, to * endedPerMs - ended);
      // Lateness only grows with j, so no later look is cheaper.
      if (paid >= least) break;
      if (paid + (cost[j + 1] as number) < least) {
        least = paid + (cost[j + 1] as number);
        looks[i] = to;
      }
    }
    cost[i] = least;
  }
  return looks;
}

/** The first bucket that ends after `ms`, by bisection; `length` when all end before. */
function bucketAfter({ length, toMs }: Table, ms: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((toMs[middle] as number) > ms) high = middle;
    else low = middle + 1;
  }
  return low;
}

function weightBelow(table: Table, ms: number): number {
  const index = bucketAfter(table, ms);
  if (index === table.length) return table.total;
  const from = table.fromMs[index] as number;
  const weight = table.below[index] as number;
  if (ms <= from) return weight;
  return (
    weight +
    (((table.below[index + 1] as number) - weight) * (ms - from)) / ((table.toMs[index] as number) - from)
  );
}

/** The duration below which the given weight lies. */
function durationAt({ length, fromMs, toMs, below }: Table, weight: number): number {
  let low = 0;
  let high = length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((below[middle + 1] as number) >= weight) high = middle;
    else low = middle + 1;
  }
  const from = fromMs[low] as number;
  const start = below[low] as number;
  const share = (weight - start) / ((below[low + 1] as number) - start);
  return from + ((toMs[low] as number) - from) * Math.min(1, Math.max(0, share));
}
