import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isSettled, type Job, type Policy } from "../../core/job.ts";
import { type Command, decide, isDue } from "../../core/machine.ts";
import { Roster, TOMBSTONE_MS } from "./roster.ts";

const NOW = Date.UTC(2026, 0, 1);

const policy: Policy = {
  maxAttempts: 5,
  backoff: { kind: "fixed", baseMs: 1000, maxMs: 1000, jitter: 0 },
  timeoutMs: 60_000,
  leaseMs: 15_000,
  graceMs: 1000,
  retentionMs: 60_000,
  priority: 0,
  weight: 1,
  running: null,
  isolated: false,
};

interface Given {
  readonly owner?: string;
  readonly operation?: string;
  readonly delayMs?: number;
  readonly policy?: Partial<Policy>;
}

/** A roster with the rows that it is told of. */
class Office {
  readonly roster = new Roster();
  readonly jobs = new Map<number, Job>();
  now = NOW;
  #row = 0;

  submit({ owner = "ann", operation = "op", delayMs = 0, policy: some = {} }: Given = {}): Job {
    const own = { ...policy, ...some };
    const row = ++this.#row;
    const decision = decide(
      null,
      {
        do: "submit",
        row,
        turn: this.roster.nextTurn(operation, owner, own.priority, own.weight),
        submission: {
          id: `${row}`,
          owner,
          operation,
          policy: own,
          input: "null",
          upload: null,
          trace: null,
          delayMs,
          startWithinMs: null,
        },
      },
      { now: this.now, dice: 0 },
    );
    if ("refused" in decision) throw new Error(decision.refused);
    return this.move(null, decision.job);
  }

  move(before: Job | null, after: Job): Job {
    this.roster.move(before, after, this.now);
    this.jobs.set(after.row, after);
    return after;
  }

  after(job: Job, command: Command): Job {
    const decision = decide(job, command, { now: this.now, dice: 0 });
    if ("refused" in decision) throw new Error(decision.refused);
    return decision.job;
  }

  change(row: number, command: Command): Job {
    const job = this.jobs.get(row) as Job;
    return this.move(job, this.after(job, command));
  }

  /** The next attempt of an operation, as a claim takes it: owners at their limit are parked on the way. */
  claim(operation = "op"): Job | null {
    for (;;) {
      const row = this.roster.suspect(operation) || this.roster.next(operation);
      if (row === 0) return null;
      const job = this.jobs.get(row) as Job;
      if (job.policy.running !== null && this.roster.running(job.owner) >= job.policy.running) {
        this.roster.park(job);
        continue;
      }
      return this.change(row, { do: "claim", worker: "w" });
    }
  }

  end(job: Job): Job {
    return this.change(job.row, {
      do: "settle",
      attempt: job.attempt,
      outcome: { kind: "completed", result: { json: "null" }, files: [] },
    });
  }

  crash(job: Job): Job {
    return this.change(job.row, {
      do: "settle",
      attempt: job.attempt,
      outcome: { kind: "crashed", detail: "" },
    });
  }

  pass(ms: number): void {
    this.now += ms;
    for (let row = this.roster.due.take(this.now); row !== 0; row = this.roster.due.take(this.now)) {
      const job = this.jobs.get(row);
      if (job?.status === "queued" && isDue(job, this.now)) this.roster.line(job);
    }
  }

  position(job: Job): number | null {
    return this.roster.position(this.jobs.get(job.row) as Job);
  }

  waitingFor(job: Job) {
    return this.roster.waitingFor(this.jobs.get(job.row) as Job, this.now);
  }

  /** Everything that can be asked of the roster. */
  seen() {
    const { roster } = this;
    const owners = new Set([...this.jobs.values()].map(({ owner }) => owner));
    return {
      positions: [...this.jobs.values()].map((job) => [job.row, roster.position(job)]),
      counts: [...roster.operations].map((operation) => [operation, roster.counts(operation)]),
      active: [...owners].map((owner) => [owner, roster.active(owner), roster.running(owner)]),
      waiting: roster.waiting,
      processing: [...roster.processing.keys()].sort((a, b) => a - b),
    };
  }
}

describe("fair turns", () => {
  test("D3: behind 10,000 jobs of one owner, the one job of another is among the first", () => {
    const office = new Office();
    for (let count = 0; count < 10_000; count++) office.submit({ owner: "greedy" });
    const one = office.submit({ owner: "modest" });
    expect(office.position(one)).toBeLessThanOrEqual(2);
    // And so is the next, once some of the many had their turn.
    office.claim();
    office.end(office.claim() as Job);
    const next = office.submit({ owner: "modest" });
    expect(office.position(next)).toBeLessThanOrEqual(3);
  });

  test("two owners of equal weight take turns, whoever came first", () => {
    const office = new Office();
    for (let count = 0; count < 50; count++) office.submit({ owner: "ann" });
    for (let count = 0; count < 50; count++) office.submit({ owner: "bob" });
    const owners = Array.from({ length: 20 }, () => office.claim()?.owner);
    expect(owners.filter((owner) => owner === "ann")).toHaveLength(10);
  });

  test("owners share in proportion to their weights", () => {
    const office = new Office();
    const weights = { ann: 1, bob: 3, eve: 6 };
    for (let count = 0; count < 400; count++) {
      for (const [owner, weight] of Object.entries(weights)) office.submit({ owner, policy: { weight } });
    }
    const taken: Record<string, number> = { ann: 0, bob: 0, eve: 0 };
    for (let count = 0; count < 500; count++) {
      const owner = office.claim()?.owner ?? "";
      taken[owner] = (taken[owner] ?? 0) + 1;
    }
    for (const [owner, weight] of Object.entries(weights)) {
      expect(Math.abs((taken[owner] ?? 0) - weight * 50)).toBeLessThanOrEqual(1);
    }
  });

  test("who was away saves up no turns", () => {
    const office = new Office();
    for (let count = 0; count < 100; count++) office.submit({ owner: "ann" });
    for (let count = 0; count < 60; count++) office.end(office.claim() as Job);
    for (let count = 0; count < 20; count++) office.submit({ owner: "late" });
    const owners = Array.from({ length: 20 }, () => office.claim()?.owner);
    expect(owners.filter((owner) => owner === "late").length).toBeLessThanOrEqual(11);
    expect(owners.filter((owner) => owner === "late").length).toBeGreaterThanOrEqual(9);
  });

  test("a higher priority starts first, whatever the turns", () => {
    const office = new Office();
    for (let count = 0; count < 5; count++) office.submit({ policy: { priority: 0 } });
    const urgent = office.submit({ policy: { priority: 5 } });
    const idle = office.submit({ policy: { priority: -5 } });
    const middle = office.submit({ policy: { priority: 1 } });
    expect([urgent, middle, idle].map((job) => office.position(job))).toEqual([1, 2, 8]);
    expect(office.claim()?.row).toBe(urgent.row);
    expect(office.claim()?.row).toBe(middle.row);
    expect(office.position(idle)).toBe(6);
  });

  test("20,000 owners with a job each are remembered without a walk through all of them at each", () => {
    const office = new Office();
    const jobs = Array.from({ length: 20_000 }, (_, index) => office.submit({ owner: `owner ${index}` }));
    expect(office.position(jobs.at(-1) as Job)).toBe(20_000);
    expect(office.claim()?.row).toBe(1);
  });

  test("after a restart the lines stand as they stood, and go on from there", () => {
    const office = new Office();
    for (let count = 0; count < 30; count++) office.submit({ owner: "ann" });
    for (let count = 0; count < 3; count++) office.submit({ owner: "bob" });
    for (let count = 0; count < 10; count++) office.claim();
    const restarted = new Office();
    for (const job of office.jobs.values()) restarted.move(null, job);
    restarted.roster.resume();
    expect(restarted.seen()).toEqual(office.seen());
    // A newcomer gets no better and no worse place than before the restart.
    const turns = [office, restarted].map(({ roster }) => roster.nextTurn("op", "new", 0, 1));
    expect(turns[0]).toBe(turns[1]);
  });
});

describe("running limits", () => {
  const limited = { policy: { running: 1 } } as const;

  test("an owner at his limit is parked, and his next one starts when one ends", () => {
    const office = new Office();
    const [first, second, third] = [office.submit(limited), office.submit(limited), office.submit(limited)];
    const other = office.submit({ owner: "bob" });
    expect(office.claim()?.row).toBe(first.row);
    expect(office.claim()?.row).toBe(other.row);
    expect(office.claim()).toBeNull();
    office.roster.sawWorker("op", office.now);
    expect([second, third].map((job) => [office.position(job), office.waitingFor(job)])).toEqual([
      [null, "quota"],
      [null, "quota"],
    ]);
    office.end(office.jobs.get(first.row) as Job);
    expect([second, third].map((job) => office.waitingFor(job))).toEqual(["turn", "quota"]);
    expect(office.claim()?.row).toBe(second.row);
  });

  test("a job that is canceled when its turn has come leaves the turn to the next of its owner", () => {
    const office = new Office();
    const [first, second, third] = [office.submit(limited), office.submit(limited), office.submit(limited)];
    office.claim();
    expect(office.claim()).toBeNull();
    office.end(office.jobs.get(first.row) as Job);
    office.change(second.row, { do: "cancel" });
    expect(office.claim()?.row).toBe(third.row);
  });

  test("a parked job can be canceled", () => {
    const office = new Office();
    const [first, second, third] = [office.submit(limited), office.submit(limited), office.submit(limited)];
    office.claim();
    expect(office.claim()).toBeNull();
    office.change(second.row, { do: "cancel" });
    office.end(office.jobs.get(first.row) as Job);
    expect(office.claim()?.row).toBe(third.row);
    office.end(office.jobs.get(third.row) as Job);
    expect(office.claim()).toBeNull();
  });

  test("a job of an operation without a worker keeps no turn from one of another operation", () => {
    const office = new Office();
    const first = office.submit({ ...limited, operation: "a" });
    const idle = office.submit({ ...limited, operation: "idle" });
    const wanted = office.submit({ ...limited, operation: "b" });
    office.claim("a");
    expect([office.claim("idle"), office.claim("b")]).toEqual([null, null]);
    office.end(office.jobs.get(first.row) as Job);
    expect(office.claim("b")?.row).toBe(wanted.row);
    expect(office.claim("idle")).toBeNull();
    office.end(office.jobs.get(wanted.row) as Job);
    expect(office.claim("idle")?.row).toBe(idle.row);
  });

  test("a suspect of an owner at his limit does not stand in the way of the others", () => {
    const office = new Office();
    const suspect = office.submit({ ...limited, operation: "op" });
    const lost = office.claim() as Job;
    office.crash(lost);
    office.pass(60_000);
    const running = office.submit({ ...limited, operation: "other" });
    office.claim("other");
    const next = office.submit({ owner: "bob" });
    expect(office.roster.suspect("op")).toBe(suspect.row);
    expect(office.claim()?.row).toBe(next.row);
    expect(office.roster.suspect("op")).toBe(0);
    office.end(office.jobs.get(running.row) as Job);
    expect(office.roster.suspect("op")).toBe(suspect.row);
  });
});

describe("places", () => {
  test("a suspect stands before all others, and an isolated job is never one", () => {
    const office = new Office();
    const [lost, alone] = [office.submit(), office.submit({ policy: { isolated: true } })];
    for (let count = 0; count < 2; count++) office.crash(office.claim() as Job);
    const others = [office.submit(), office.submit()];
    office.pass(60_000);
    expect(office.roster.suspect("op")).toBe(lost.row);
    expect(office.position(lost)).toBe(1);
    expect(office.position(alone)).toBe(2);
    expect(others.map((job) => office.position(job))).toEqual([3, 4]);
  });

  test("a delayed job joins its line when it is due, at the place of its turn", () => {
    const office = new Office();
    const later = office.submit({ delayMs: 5000 });
    const now = office.submit();
    expect([office.position(later), office.waitingFor(later)]).toEqual([null, "delay"]);
    expect(office.roster.due.nextAt()).toBe(office.now + 5000);
    office.pass(5000);
    office.roster.sawWorker("op", office.now);
    expect([office.position(later), office.waitingFor(later)]).toEqual([1, "turn"]);
    expect(office.position(now)).toBe(2);
  });

  test("a job that was due before the clock was set back is due still", () => {
    const office = new Office();
    const job = office.submit();
    office.now -= 24 * 3600 * 1000;
    const restarted = new Office();
    restarted.now = office.now;
    restarted.move(null, job);
    expect(restarted.roster.next("op")).toBe(job.row);
    expect(office.claim()?.row).toBe(job.row);
  });

  test("why a job waits is told in the order of what would have to change first", () => {
    const office = new Office();
    const job = office.submit();
    expect(office.waitingFor(job)).toBe("no-worker");
    office.roster.sawWorker("op", office.now);
    expect(office.waitingFor(job)).toBe("turn");
    office.roster.pause("op", true);
    expect([office.waitingFor(job), office.roster.next("op")]).toEqual(["paused", 0]);
    office.roster.pause("op", false);
    office.now += 60_001;
    expect(office.waitingFor(job)).toBe("no-worker");
    const running = office.claim() as Job;
    expect(office.waitingFor(running)).toBeNull();
    office.change(running.row, {
      do: "settle",
      attempt: 1,
      outcome: {
        kind: "failed",
        problem: { type: "failed", title: "Failed", status: 500 },
        final: false,
      },
    });
    expect(office.waitingFor(running)).toBe("retry");
  });

  test("a settled job is looked at again when its retention ends, and a tombstone 30 days later", () => {
    const office = new Office();
    office.submit();
    const job = office.end(office.claim() as Job);
    expect(office.roster.ends.take((job.expiresAt ?? 0) - 1)).toBe(0);
    expect(office.roster.ends.take(job.expiresAt ?? 0)).toBe(job.row);
    office.now = job.expiresAt ?? 0;
    office.change(job.row, { do: "expire" });
    expect(office.roster.ends.nextAt()).toBe(office.now + TOMBSTONE_MS);
  });
});

type Deed =
  | { readonly do: "submit"; readonly given: Given }
  | { readonly do: "claim"; readonly operation: string }
  | { readonly do: "complete" | "fail" | "crash" | "cancel" | "undo"; readonly pick: number }
  | { readonly do: "pass"; readonly ms: number };

const operation = fc.constantFrom("a", "b");
const deeds: fc.Arbitrary<readonly Deed[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant("submit" as const),
        given: fc.record({
          owner: fc.constantFrom("ann", "bob", "eve"),
          operation,
          delayMs: fc.constantFrom(0, 0, 0, 500),
          policy: fc.record({
            priority: fc.constantFrom(0, 0, 1),
            weight: fc.constantFrom(1, 3),
            isolated: fc.boolean(),
          }),
        }),
      }),
    },
    { weight: 6, arbitrary: fc.record({ do: fc.constant("claim" as const), operation }) },
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constantFrom("complete", "complete", "fail", "crash", "cancel", "undo" as const),
        pick: fc.nat(1000),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(1, 600, 20_000) }),
    },
  ) as fc.Arbitrary<Deed>,
  { maxLength: 80, size: "max" },
);

const outcomes = {
  complete: { kind: "completed", result: { json: "null" }, files: [] },
  fail: { kind: "failed", problem: { type: "x", title: "X", status: 500 }, final: false },
  crash: { kind: "crashed", detail: "" },
} as const;

/** Does it; where it is an undo, also says which change was made and taken back. */
function perform(office: Office, deed: Deed, running: number | null): void {
  if (deed.do === "submit") {
    office.submit({ ...deed.given, policy: { ...deed.given.policy, running } });
  } else if (deed.do === "claim") office.claim(deed.operation);
  else if (deed.do === "pass") office.pass(deed.ms);
  else {
    const wanted = [...office.jobs.values()].filter(({ status }) =>
      deed.do === "cancel" || deed.do === "undo" ? !isSettled(status) : status === "processing",
    );
    const job = wanted[deed.pick % Math.max(1, wanted.length)];
    if (job === undefined) return;
    if (deed.do === "cancel") office.change(job.row, { do: "cancel" });
    else if (deed.do === "undo") {
      const after = office.after(
        job,
        job.status === "processing"
          ? {
              do: "settle",
              attempt: job.attempt,
              outcome: outcomes[deed.pick % 2 === 0 ? "complete" : "fail"],
            }
          : { do: "cancel" },
      );
      office.roster.move(job, after, office.now);
      office.roster.move(after, job, office.now);
    } else office.change(job.row, { do: "settle", attempt: job.attempt, outcome: outcomes[deed.do] });
  }
}

function isBefore(a: Job, b: Job, byPriority: boolean): boolean {
  if (byPriority && a.policy.priority !== b.policy.priority) return a.policy.priority > b.policy.priority;
  return a.turn < b.turn || (a.turn === b.turn && a.row < b.row);
}

function isSuspect(job: Job): boolean {
  return job.crashes > 0 && !job.policy.isolated;
}

describe("after any deeds", () => {
  test("places, counts and limits are those that counting all the jobs gives", () => {
    fc.assert(
      fc.property(deeds, fc.constantFrom(null, 1, 2), (all, running) => {
        const office = new Office();
        for (const deed of all) {
          perform(office, deed, running);
          // A worker is there, so that a job that waits for nothing else waits for its turn.
          for (const name of ["a", "b"]) office.roster.sawWorker(name, office.now);
          check(office, running);
        }
      }),
      { numRuns: 100 },
    );
  });

  test("a change that is taken back leaves every place and count as it was", () => {
    fc.assert(
      fc.property(deeds, fc.nat(1000), (all, pick) => {
        const office = new Office();
        for (const deed of all) perform(office, deed, null);
        const before = office.seen();
        perform(office, { do: "undo", pick }, null);
        expect(office.seen()).toEqual(before);
      }),
      { numRuns: 100 },
    );
  });

  test("a roster that is told of all rows anew gives the same places and counts", () => {
    fc.assert(
      fc.property(deeds, (all) => {
        const office = new Office();
        for (const deed of all) perform(office, deed, null);
        office.pass(0);
        const restarted = new Office();
        restarted.now = office.now;
        for (const job of office.jobs.values()) restarted.move(null, job);
        restarted.roster.resume();
        const sorted = ({ counts, ...seen }: ReturnType<Office["seen"]>) => ({
          ...seen,
          counts: counts.filter(([, of]) => Object.values(of ?? {}).some((count) => count > 0)).sort(),
        });
        expect(sorted(restarted.seen())).toEqual(sorted(office.seen()));
      }),
      { numRuns: 100 },
    );
  });
});

function check(office: Office, limit: number | null): void {
  const { roster } = office;
  const jobs = [...office.jobs.values()];
  for (const name of ["a", "b"]) {
    const mine = jobs.filter((job) => job.operation === name);
    const queued = mine.filter(({ status }) => status === "queued");
    const processing = mine.filter(({ status }) => status === "processing");
    expect(roster.counts(name)).toEqual({ queued: queued.length, processing: processing.length });
    const waits = (job: Job) => roster.waitingFor(job, office.now);
    const due = queued.filter((job) => isDue(job, office.now));
    const lined = due.filter((job) => waits(job) === "turn");
    const parked = due.filter((job) => waits(job) === "quota");
    expect(lined.length + parked.length).toBe(due.length);
    const suspects = lined.filter(isSuspect);
    for (const job of lined) {
      const ahead = isSuspect(job)
        ? suspects.filter((other) => isBefore(other, job, false)).length
        : suspects.length + lined.filter((other) => !isSuspect(other) && isBefore(other, job, true)).length;
      expect(roster.position(job)).toBe(ahead + 1);
    }
    for (const job of queued) if (!lined.includes(job)) expect(roster.position(job)).toBeNull();
    // Nobody is parked for good: who may run one more has one in line.
    for (const job of parked) {
      if (limit !== null && roster.running(job.owner) < limit)
        expect(lined.some((other) => other.owner === job.owner)).toBe(true);
    }
  }
  for (const owner of ["ann", "bob", "eve"]) {
    const mine = jobs.filter((job) => job.owner === owner);
    expect(roster.active(owner)).toBe(mine.filter(({ status }) => !isSettled(status)).length);
    expect(roster.running(owner)).toBe(mine.filter(({ status }) => status === "processing").length);
    if (limit !== null) expect(roster.running(owner)).toBeLessThanOrEqual(limit);
  }
  expect(roster.waiting).toBe(jobs.filter(({ status }) => status === "queued").length);
}
