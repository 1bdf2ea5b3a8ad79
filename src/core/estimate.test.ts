import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import {
  type Drain,
  type Durations,
  drainPerSecond,
  emptyDrain,
  emptyDurations,
  estimate,
  fromProgress,
  learn,
  learnDrain,
  MOST_RETRY_AFTER_SECONDS,
  type Waiting,
} from "./estimate.ts";

const known = (ms: number, runs = 50) =>
  Array.from({ length: runs }).reduce<Durations>((durations) => learn(durations, ms, 0), emptyDurations());

const queued: Waiting = {
  status: "queued",
  position: 1,
  elapsedMs: 0,
  sinceDueMs: 0,
  progress: null,
  durations: emptyDurations(),
  drainPerSecond: 0,
  slots: 4,
};
const running: Waiting = { ...queued, status: "processing", position: null };

/** Numbers of 0 to 1 that a seed replays (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

describe("without any knowledge", () => {
  test("the first polls come after one to two seconds, later ones after a quarter of the time that has passed", () => {
    expect(estimate(queued, 0).retryAfterSeconds).toBe(1);
    expect(estimate(queued, 0.9).retryAfterSeconds).toBe(2);
    expect(estimate({ ...running, elapsedMs: 100_000 }, 0).retryAfterSeconds).toBe(25);
    expect(estimate({ ...queued, sinceDueMs: 100_000 }, 0).retryAfterSeconds).toBe(90);
  });

  test("a run is taken to be in the middle", () => {
    expect(estimate({ ...running, elapsedMs: 100_000 }, 0).remainingMs).toBe(100_000);
    expect(estimate(running, 0).remainingMs).toBe(2000);
  });

  test("reported progress is extrapolated at once", () => {
    const { remainingMs, retryAfterSeconds } = estimate({ ...running, elapsedMs: 30_000, progress: 50 }, 0);
    expect(remainingMs).toBe(30_000);
    expect(retryAfterSeconds).toBeGreaterThanOrEqual(30);
    expect(retryAfterSeconds).toBeLessThanOrEqual(32);
  });
});

describe("the wait of a queued job", () => {
  const busy = { ...queued, durations: known(60_000), sinceDueMs: 5000 };

  test("follows from its position and the slots", () => {
    const { waitMs, remainingMs } = estimate({ ...busy, position: 41 }, 0);
    expect(waitMs / 607_500).toBeCloseTo(1, 1);
    expect((remainingMs - waitMs) / 60_000).toBeCloseTo(1, 1);
    expect(estimate({ ...busy, position: 81 }, 0).waitMs).toBeGreaterThan(waitMs * 1.9);
  });

  test("follows from the drain where no slots are known, and once the job has waited long", () => {
    expect(estimate({ ...busy, position: 11, slots: 0, drainPerSecond: 0.5 }, 0).waitMs).toBe(21_000);
    const long = { ...busy, position: 11, drainPerSecond: 0.01, sinceDueMs: 3_600_000 };
    expect(estimate(long, 0).waitMs).toBe(1_050_000);
  });

  test("is none where a slot is free, or where one may be and the job has just come", () => {
    expect(estimate({ ...busy, position: 3, freeSlots: 3 }, 0).waitMs).toBe(0);
    expect(estimate({ ...busy, position: 3, freeSlots: 0 }, 0).waitMs).toBeGreaterThan(30_000);
    expect(estimate({ ...busy, position: 4, sinceDueMs: 3 }, 0).waitMs).toBe(0);
    expect(estimate({ ...busy, position: 5, sinceDueMs: 3 }, 0).waitMs).toBeGreaterThan(60_000);
  });

  test("contains the time until it is due", () => {
    const delayed = estimate({ ...busy, position: null, sinceDueMs: -120_000 }, 0);
    expect(delayed.waitMs).toBe(120_000);
    expect(delayed.retryAfterSeconds).toBeGreaterThanOrEqual(180);
    expect(estimate({ ...queued, position: null, sinceDueMs: -120_000 }, 0).retryAfterSeconds).toBe(121);
  });

  test("is as long again as it has been where nobody works", () => {
    expect(estimate({ ...queued, position: 3, slots: 0, sinceDueMs: 40_000 }, 0).waitMs).toBe(40_000);
  });
});

describe("progress", () => {
  test("is extrapolated at its own pace", () => {
    expect(fromProgress(25, 10_000)).toBe(30_000);
    expect(fromProgress(100, 10_000)).toBe(0);
    expect(fromProgress(0, 10_000)).toBeNull();
    expect(fromProgress(50, 0)).toBeNull();
    expect(fromProgress(Number.NaN, 10)).toBeNull();
  });

  test("counts from when it was reported", () => {
    const job = { ...running, elapsedMs: 70_000, progress: 50, progressElapsedMs: 50_000 };
    expect(estimate(job, 0).remainingMs).toBe(30_000);
  });

  test("gives way to known runs that are all alike, and wins over ones that are not", () => {
    const alike = { ...running, elapsedMs: 30_000, progress: 10, durations: known(60_000) };
    expect(estimate(alike, 0).remainingMs).toBeLessThan(33_000);
    const mixed = learn(learn(learn(learn(known(20_000, 3), 900_000, 0), 90_000, 0), 300_000, 0), 45_000, 0);
    expect(estimate({ ...running, elapsedMs: 30_000, progress: 60, durations: mixed }, 0).remainingMs).toBe(
      20_000,
    );
  });
});

test("whatever is asked, Retry-After is a whole number of seconds within its bound and times are finite", () => {
  const number = fc.oneof(fc.integer({ min: -1e9, max: 1e12 }), fc.constantFrom(0, 1, 0.5));
  const durations = fc.array(fc.integer({ min: 0, max: 1e9 }), { maxLength: 20 });
  fc.assert(
    fc.property(
      fc.record({
        status: fc.constantFrom("queued" as const, "processing" as const),
        position: fc.option(fc.integer({ min: 1, max: 1e7 })),
        elapsedMs: number,
        sinceDueMs: number,
        progress: fc.option(fc.integer({ min: 0, max: 100 })),
        progressElapsedMs: fc.option(number),
        drainPerSecond: fc.constantFrom(0, 0.001, 5, 1e5),
        slots: fc.nat({ max: 100 }),
        freeSlots: fc.option(fc.nat({ max: 100 })),
      }),
      durations,
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.integer({ min: 1, max: 1000 }),
      (job, runsMs, dice, most) => {
        const learned = runsMs.reduce((each, ms) => learn(each, ms, 0), emptyDurations());
        const given = estimate({ ...job, durations: learned }, dice, most);
        expect(Number.isInteger(given.retryAfterSeconds)).toBe(true);
        expect(given.retryAfterSeconds).toBeGreaterThanOrEqual(1);
        expect(given.retryAfterSeconds).toBeLessThanOrEqual(most);
        expect(given.waitMs).toBeGreaterThanOrEqual(0);
        expect(given.remainingMs).toBeGreaterThanOrEqual(given.waitMs);
        expect(Number.isFinite(given.remainingMs)).toBe(true);
      },
    ),
    { numRuns: 500 },
  );
});

test("dice only ever delay, by two percent", () => {
  const job = { ...queued, durations: known(300_000) };
  const [early, late] = [estimate(job, 0).retryAfterSeconds, estimate(job, 1).retryAfterSeconds];
  expect(late).toBeGreaterThan(early);
  expect(late).toBeLessThanOrEqual(Math.ceil(early * 1.02) + 1);
  expect(estimate({ ...queued, durations: known(1e8) }, 1).retryAfterSeconds).toBe(MOST_RETRY_AFTER_SECONDS);
});

describe("the drain", () => {
  const settle = (perSecond: number, seconds: number, drain: Drain = emptyDrain(), from = 0) => {
    let learned = drain;
    for (let second = 1; second <= seconds; second++)
      learned = learnDrain(learned, perSecond, from + second * 1000);
    return learned;
  };

  test("is the rate of a steady stream, soon and for ever", () => {
    expect(drainPerSecond(settle(7, 30), 30_000)).toBeCloseTo(7, -0.3);
    expect(drainPerSecond(settle(7, 7200), 7_200_000)).toBeCloseTo(7, 1);
  });

  test("halves in five minutes of nothing and follows a new rate", () => {
    const steady = settle(8, 7200);
    expect(drainPerSecond(steady, 7_500_000)).toBeCloseTo(4, 1);
    expect(drainPerSecond(settle(2, 3600, steady, 7_200_000), 10_800_000)).toBeCloseTo(2, 1);
  });

  test("is 0 when nothing was learned, and finite when the clock steps back", () => {
    expect(drainPerSecond(emptyDrain(), 5)).toBe(0);
    const back = learnDrain(settle(3, 60), 1, -86_400_000);
    expect(drainPerSecond(back, -86_400_000)).toBeGreaterThan(0);
    expect(drainPerSecond(back, -86_400_000)).toBeLessThan(20);
  });
});

/** Durations in seconds by the job's number, the share done that is reported, and the bounds. */
interface Law {
  readonly seconds: (job: number) => number;
  /** Of the share of the time that has passed; null without reports. */
  readonly progress?: (share: number) => number;
  readonly polls: number;
  /** Lateness ÷ duration, in percent. */
  readonly late: number;
}

let roll = seeded(2020);
beforeEach(() => {
  roll = seeded(2020);
});

const normal = () => Math.sqrt(-2 * Math.log(1 - roll())) * Math.cos(2 * Math.PI * roll());
const logNormal = (median: number, spread: number) => median * Math.exp(spread * normal());
const pareto = (least: number) => Math.min(3000, least * (1 - roll()) ** (-1 / 1.5));
const linear = (share: number) => share;

describe("callers who poll when they are told to", () => {
  // Both aims (2.5 polls, 5 %) can be met at once only where runs are alike, come in kinds, drift, or report progress. Of a
  // log-normal spread of 25 % or a pure Pareto law even the best plan that knows the law in advance gets 3.5 polls with
  // 8 % or 4.4 with 9 %, so there the bounds are what is reached, near to that.
  const laws: Readonly<Record<string, Law>> = {
    "20 s each": { seconds: () => 20, polls: 1.1, late: 5.5 },
    "60.3 s each": { seconds: () => 60.3, polls: 1.1, late: 4.5 },
    "500 s each": { seconds: () => 500, polls: 1.1, late: 3 },
    "log-normal, 5 %": { seconds: () => logNormal(120, 0.05), polls: 2, late: 4.5 },
    "log-normal, 10 %": { seconds: () => logNormal(180, 0.1), polls: 2.5, late: 5.5 },
    "log-normal, 25 %": { seconds: () => logNormal(180, 0.25), polls: 4, late: 9.5 },
    "log-normal, 50 %": { seconds: () => logNormal(180, 0.5), polls: 5.7, late: 14 },
    bimodal: { seconds: () => logNormal(roll() < 0.7 ? 60 : 600, 0.03), polls: 2.5, late: 6 },
    "a heavy tail on one in ten": {
      seconds: () => (roll() < 0.9 ? logNormal(80, 0.05) : pareto(80)),
      polls: 2.3,
      late: 7,
    },
    Pareto: { seconds: () => pareto(40), polls: 5, late: 13 },
    "drifting up": { seconds: (job) => logNormal(60 + job / 8, 0.02), polls: 2.3, late: 3 },
    "drifting down": { seconds: (job) => logNormal(600 - job / 8, 0.02), polls: 1.8, late: 5 },
    "drifting to and fro": {
      seconds: (job) => logNormal(150 * (1 + 0.3 * Math.sin(job / 160)), 0.02),
      polls: 2.2,
      late: 5,
    },
    "one duration, then another": {
      seconds: (job) => logNormal(job % 400 < 200 ? 60 : 150, 0.02),
      polls: 2.2,
      late: 5,
    },
    "log-normal, 50 %, with progress": {
      seconds: () => logNormal(180, 0.5),
      progress: linear,
      polls: 2.6,
      late: 5.5,
    },
    "bimodal with progress": {
      seconds: () => logNormal(roll() < 0.7 ? 60 : 600, 0.1),
      progress: linear,
      polls: 2.5,
      late: 5.5,
    },
    "Pareto with progress": { seconds: () => pareto(40), progress: linear, polls: 2.5, late: 5.5 },
    "unsteady progress": {
      seconds: () => logNormal(180, 0.5),
      progress: (share) => Math.min(1, Math.max(0, share + 0.03 * Math.sin(20 * share))),
      polls: 3,
      late: 7,
    },
    "progress in quarters": {
      seconds: () => logNormal(180, 0.5),
      progress: (share) => Math.floor(share * 4) / 4,
      polls: 3,
      late: 5.5,
    },
  };

  test.each(Object.entries(laws))("find runs done with few polls and little delay: %s", (_, law) => {
    const reached = replay(law, 2000);
    expect(reached.polls).toBeLessThanOrEqual(law.polls);
    expect(reached.late).toBeLessThanOrEqual(law.late);
  });

  test("behind a queue, they need as few polls for the whole of wait and run", () => {
    for (const freeSlots of [null, 0]) {
      const reached = replayQueue(80, 4, () => logNormal(60, 0.1), freeSlots);
      expect(reached.polls).toBeLessThanOrEqual(3);
      expect(reached.late).toBeLessThanOrEqual(5.5);
    }
  });
});

/** Submits jobs one after another to a free slot; the means after the first thirty. */
function replay({ seconds, progress }: Law, jobs: number): { polls: number; late: number } {
  let durations = emptyDurations();
  let polls = 0;
  let late = 0;
  for (let job = -30; job < jobs; job++) {
    const duration = seconds(Math.max(0, job));
    let now = estimate({ ...queued, durations }, roll()).retryAfterSeconds;
    let asked = 1;
    for (; now < duration; asked++) {
      const share = progress?.(now / duration) ?? null;
      // A handler that reports in steps reported the last of them when it was reached.
      const steps = share !== null && Number.isInteger(share * 4);
      const waiting: Waiting = {
        ...running,
        durations,
        elapsedMs: now * 1000,
        sinceDueMs: now * 1000,
        progress: share === null ? null : Math.floor(share * 100),
        progressElapsedMs: steps ? share * duration * 1000 : null,
      };
      now += estimate(waiting, roll()).retryAfterSeconds;
    }
    durations = learn(durations, duration * 1000, job * 60_000);
    if (job < 0) continue;
    polls += asked / jobs;
    late += (100 * (now - duration)) / duration / jobs;
  }
  return { polls, late };
}

/** Submits many jobs at once to few slots that are all free at first. */
function replayQueue(jobs: number, slots: number, seconds: () => number, freeSlots: number | null) {
  let durations = emptyDurations();
  for (let run = 0; run < 100; run++) durations = learn(durations, seconds() * 1000, 0);
  const free = new Array<number>(slots).fill(0);
  const starts: number[] = [];
  let polls = 0;
  let late = 0;
  for (let job = 0; job < jobs; job++) {
    const slot = free.indexOf(Math.min(...free));
    const start = free[slot] as number;
    const end = start + seconds();
    free[slot] = end;
    starts.push(start);
    let now = 0;
    while (now < end) {
      const started = now > 0 && now >= start;
      const ahead = starts.filter((each) => each > now).length;
      const position = started ? null : now === 0 ? job + 1 : Math.max(1, ahead);
      const status = started ? "processing" : "queued";
      const elapsedMs = started ? (now - start) * 1000 : 0;
      const none = now === 0 && freeSlots !== null ? slots : freeSlots;
      const waiting = {
        ...running,
        status,
        position,
        elapsedMs,
        sinceDueMs: now * 1000,
        durations,
        slots,
        freeSlots: none,
      };
      now += estimate(waiting as Waiting, roll()).retryAfterSeconds;
      polls += 1 / jobs;
    }
    late += (100 * (now - end)) / end / jobs;
  }
  return { polls, late };
}
