import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isSettled, type Job, type Policy } from "./job.ts";
import {
  type AttemptOutcome,
  type Command,
  type Decision,
  decide,
  isDue,
  MAX_CRASHES,
  type Moment,
  type Submission,
} from "./machine.ts";
import { problem } from "./problem.ts";

const DOC = fileURLToPath(new URL("../../docs/reference/machine.md", import.meta.url));
const NOW = Date.UTC(2026, 0, 1);
const DAY_MS = 24 * 3600 * 1000;

const policy: Policy = {
  maxAttempts: 3,
  backoff: { kind: "exponential", baseMs: 1000, maxMs: 60_000, jitter: 0.5 },
  timeoutMs: 60_000,
  leaseMs: 15_000,
  graceMs: 10_000,
  retentionMs: DAY_MS,
  priority: 0,
  weight: 1,
  running: null,
  isolated: false,
};

const submission: Submission = {
  id: "an-id",
  owner: "owner",
  operation: "render",
  policy,
  input: '{"a":1}',
  upload: null,
  trace: null,
  delayMs: 0,
  startWithinMs: null,
};

const why = problem("attempt-failed");
const COMPLETED: AttemptOutcome = { kind: "completed", result: { json: "{}" }, files: [] };
const FAILED: AttemptOutcome = { kind: "failed", problem: why, final: false };

/** Where a job can be: the columns of the table. */
const PLACES = ["none", "queued", "processing", "completed", "failed", "canceled", "gone"] as const;
type Place = (typeof PLACES)[number];

/**
 * A row of the table: a command under a condition, and what it leads to from each place.
 * `→ status: event` is a change; `stays: event` changes fields only; `nothing` asks for what is so already;
 * anything else is the refusal. `—` is never asked.
 */
interface Line {
  readonly command: string;
  readonly when: string;
  readonly decide: Command;
  readonly fields?: Partial<Job>;
  readonly moment?: Partial<Moment>;
  readonly cells: readonly [string, string, string, string, string, string, string];
}

const claim: Command = { do: "claim", worker: "w" };
const reclaim: Command = { do: "reclaim" };
const expire: Command = { do: "expire" };
const settle = (outcome: AttemptOutcome, attempt = 2): Command => ({ do: "settle", attempt, outcome });

const ASKED: Partial<Job> = { cancelRequestedAt: NOW - 1000 };
const LAPSED: Partial<Job> = { leaseUntil: NOW - 1 };
const OVERRUN: Partial<Job> = { startedAt: NOW - policy.timeoutMs - policy.graceMs };
const LAST: Partial<Job> = { failures: policy.maxAttempts - 1 };

const NONE = "not-found";
const OVER = "already-settled";
const LOST = "lease-lost";
const fenced = (cell: string): Line["cells"] => [NONE, LOST, cell, LOST, LOST, LOST, NONE];
const lapse = (queued: string, processing: string): Line["cells"] => [
  NONE,
  queued,
  processing,
  "not-lapsed",
  "not-lapsed",
  "not-lapsed",
  NONE,
];

const TABLE: readonly Line[] = [
  {
    command: "submit",
    when: "accepted by admission",
    decide: { do: "submit", submission, row: 1, turn: 1 },
    cells: ["→ queued: queued", "—", "—", "—", "—", "—", "—"],
  },
  {
    command: "claim",
    when: "due",
    decide: claim,
    cells: [NONE, "→ processing: started", "not-due", OVER, OVER, OVER, NONE],
  },
  {
    command: "claim",
    when: "before it is due",
    decide: claim,
    fields: { dueAt: NOW + 1 },
    cells: [NONE, "not-due", "not-due", OVER, OVER, OVER, NONE],
  },
  {
    command: "claim",
    when: "was due when it was queued, then the clock was set back",
    decide: claim,
    fields: { dueAt: NOW + DAY_MS, updatedAt: NOW + DAY_MS },
    cells: [NONE, "→ processing: started", "not-due", OVER, OVER, OVER, NONE],
  },
  {
    command: "claim",
    when: "start deadline passed before any attempt",
    decide: claim,
    fields: { startBy: NOW, attempt: 0 },
    cells: [NONE, "not-due", "not-due", OVER, OVER, OVER, NONE],
  },
  {
    command: "claim",
    when: "start deadline passed after an attempt began",
    decide: claim,
    fields: { startBy: NOW },
    cells: [NONE, "→ processing: started", "not-due", OVER, OVER, OVER, NONE],
  },
  {
    command: "heartbeat",
    when: "with other progress or message",
    decide: { do: "heartbeat", attempt: 2, progress: 51 },
    cells: fenced("stays: progress"),
  },
  {
    command: "heartbeat",
    when: "with a checkpoint, or to renew the lease",
    decide: { do: "heartbeat", attempt: 2, checkpoint: "1" },
    cells: fenced("stays"),
  },
  {
    command: "heartbeat",
    when: "of an earlier attempt",
    decide: { do: "heartbeat", attempt: 1, progress: 51 },
    cells: fenced(LOST),
  },
  {
    command: "settle",
    when: "completed",
    decide: settle(COMPLETED),
    cells: fenced("→ completed: completed"),
  },
  {
    command: "settle",
    when: "completed, though asked to stop",
    decide: settle(COMPLETED),
    fields: ASKED,
    cells: fenced("→ completed: completed"),
  },
  {
    command: "settle",
    when: "completed by an earlier attempt",
    decide: settle(COMPLETED, 1),
    cells: fenced(LOST),
  },
  {
    command: "settle",
    when: "failed, attempts left",
    decide: settle(FAILED),
    cells: fenced("→ queued: retrying"),
  },
  {
    command: "settle",
    when: "failed, none left",
    decide: settle(FAILED),
    fields: LAST,
    cells: fenced("→ failed: failed"),
  },
  {
    command: "settle",
    when: "failed for good",
    decide: settle({ ...FAILED, final: true }),
    cells: fenced("→ failed: failed"),
  },
  {
    command: "settle",
    when: "failed after it was asked to stop",
    decide: settle({ ...FAILED, final: true }),
    fields: ASKED,
    cells: fenced("→ canceled: canceled"),
  },
  {
    command: "settle",
    when: "canceled after it was asked to stop",
    decide: settle({ kind: "canceled" }),
    fields: ASKED,
    cells: fenced("→ canceled: canceled"),
  },
  {
    command: "settle",
    when: "canceled without having been asked",
    decide: settle({ kind: "canceled" }),
    cells: fenced("→ queued: retrying"),
  },
  {
    command: "settle",
    when: "crashed, for the first or second time",
    decide: settle({ kind: "crashed", detail: "exit 1" }),
    fields: { crashes: MAX_CRASHES - 2 },
    cells: fenced("→ queued: retrying"),
  },
  {
    command: "settle",
    when: "crashed for the third time",
    decide: settle({ kind: "crashed", detail: "exit 1" }),
    fields: { crashes: MAX_CRASHES - 1 },
    cells: fenced("→ failed: failed"),
  },
  {
    command: "settle",
    when: "crashed after it was asked to stop",
    decide: settle({ kind: "crashed", detail: "exit 1" }),
    fields: ASKED,
    cells: fenced("→ canceled: canceled"),
  },
  {
    command: "settle",
    when: "released",
    decide: settle({ kind: "released" }),
    fields: { ...LAST, crashes: MAX_CRASHES - 1 },
    cells: fenced("→ queued: retrying"),
  },
  {
    command: "settle",
    when: "released after it was asked to stop",
    decide: settle({ kind: "released" }),
    fields: ASKED,
    cells: fenced("→ canceled: canceled"),
  },
  {
    command: "cancel",
    when: "for the first time",
    decide: { do: "cancel" },
    cells: [NONE, "→ canceled: canceled", "stays: cancel-requested", OVER, OVER, "nothing", NONE],
  },
  {
    command: "cancel",
    when: "again",
    decide: { do: "cancel" },
    fields: ASKED,
    cells: [NONE, "→ canceled: canceled", "nothing", OVER, OVER, "nothing", NONE],
  },
  { command: "reclaim", when: "the lease runs", decide: reclaim, cells: lapse("not-lapsed", "not-lapsed") },
  {
    command: "reclaim",
    when: "the lease lapsed, for the first or second time",
    decide: reclaim,
    fields: LAPSED,
    cells: lapse("not-lapsed", "→ queued: retrying"),
  },
  {
    command: "reclaim",
    when: "the lease lapsed for the third time",
    decide: reclaim,
    fields: { ...LAPSED, crashes: MAX_CRASHES - 1 },
    cells: lapse("not-lapsed", "→ failed: failed"),
  },
  {
    command: "reclaim",
    when: "the lease lapsed after it was asked to stop",
    decide: reclaim,
    fields: { ...LAPSED, ...ASKED },
    cells: lapse("not-lapsed", "→ canceled: canceled"),
  },
  {
    command: "reclaim",
    when: "its time and grace are over, attempts left",
    decide: reclaim,
    fields: OVERRUN,
    cells: lapse("not-lapsed", "→ queued: retrying"),
  },
  {
    command: "reclaim",
    when: "its time and grace are over, none left",
    decide: reclaim,
    fields: { ...OVERRUN, ...LAST },
    cells: lapse("not-lapsed", "→ failed: failed"),
  },
  {
    command: "reclaim",
    when: "its time and grace are over only because the clock was set forward",
    decide: reclaim,
    fields: OVERRUN,
    moment: { steadyNow: NOW - 1 },
    cells: lapse("not-lapsed", "not-lapsed"),
  },
  {
    command: "reclaim",
    when: "its time and grace are over after it was asked to stop",
    decide: reclaim,
    fields: { ...OVERRUN, ...ASKED },
    cells: lapse("not-lapsed", "→ canceled: canceled"),
  },
  {
    command: "reclaim",
    when: "the grace after it was asked to stop is over",
    decide: reclaim,
    fields: { cancelRequestedAt: NOW - policy.graceMs },
    cells: lapse("not-lapsed", "→ canceled: canceled"),
  },
  {
    command: "reclaim",
    when: "start deadline passed before any attempt",
    decide: reclaim,
    fields: { startBy: NOW, attempt: 0 },
    cells: lapse("→ failed: failed", "not-lapsed"),
  },
  {
    command: "expire",
    when: "its retention is not over",
    decide: expire,
    cells: [NONE, ...Array<string>(5).fill("not-expired"), NONE] as unknown as Line["cells"],
  },
  {
    command: "expire",
    when: "its retention is over only because the clock was set forward",
    decide: expire,
    moment: { now: NOW + DAY_MS, steadyNow: NOW + DAY_MS - 1 },
    cells: [NONE, ...Array<string>(5).fill("not-expired"), NONE] as unknown as Line["cells"],
  },
  {
    command: "expire",
    when: "its retention is over",
    decide: expire,
    moment: { now: NOW + DAY_MS },
    cells: [
      NONE,
      "not-expired",
      "not-expired",
      "→ gone: expired",
      "→ gone: expired",
      "→ gone: expired",
      NONE,
    ],
  },
];

/** A job as it stands in a place, plainly: attempt 2, lease running, nobody asked it to stop. */
function jobIn(place: Exclude<Place, "none">, fields: Partial<Job> = {}): Job {
  const submitted = decide(
    null,
    { do: "submit", submission, row: 1, turn: 1 },
    { now: NOW - 30_000, dice: 0.5 },
  );
  if ("refused" in submitted) throw new Error("A submit is never refused.");
  const base: Job = { ...submitted.job, attempt: 2, startedAt: NOW - 20_000, revision: 4 };
  const settled = { finishedAt: NOW, expiresAt: NOW + policy.retentionMs };
  switch (place) {
    case "queued":
      return { ...base, ...fields };
    case "processing":
      return {
        ...base,
        status: place,
        worker: "w",
        leaseUntil: NOW + 10_000,
        progress: 50,
        ...fields,
      };
    case "gone":
      return { ...base, status: "completed", ...settled, ...fields, goneAt: NOW };
    default:
      return { ...base, status: place, ...settled, ...fields };
  }
}

function cellOf(before: Job | null, decision: Decision): string {
  if ("refused" in decision) return decision.refused;
  const { job, events } = decision;
  if (job === before) return events.length === 0 ? "nothing" : `nothing: ${events.join(", ")}`;
  const said = events.length === 0 ? "" : `: ${events.join(", ")}`;
  if (job.goneAt !== (before?.goneAt ?? null)) return `→ gone${said}`;
  return job.status === before?.status ? `stays${said}` : `→ ${job.status}${said}`;
}

describe("the truth table", () => {
  for (const line of TABLE) {
    for (const [index, place] of PLACES.entries()) {
      const expected = line.cells[index];
      if (expected === "—") continue;
      test(`${line.command} (${line.when}) of ${place === "none" ? "no job" : `a ${place} job`}: ${expected}`, () => {
        const before = place === "none" ? null : deepFreeze(jobIn(place, line.fields));
        const decision = decide(before, line.decide, { now: NOW, dice: 0.5, ...line.moment });
        expect(cellOf(before, decision)).toBe(expected);
      });
    }
  }

  test("it is the one that docs/reference/machine.md prints", () => {
    const printed = print(TABLE);
    if (process.env.UPDATE_DOCS === "1") {
      mkdirSync(dirname(DOC), { recursive: true });
      writeFileSync(DOC, printed);
    }
    expect(readFileSync(DOC, "utf8")).toBe(printed);
  });
});

test("a wait that the handler asked for ends on a whole millisecond, and not before", () => {
  const decision = decide(
    jobIn("processing"),
    settle({ ...FAILED, retryAfterMs: 90_000.5 } as AttemptOutcome),
    { now: NOW, dice: 0 },
  );
  if ("refused" in decision) throw new Error(decision.refused);
  expect(decision.job.dueAt).toBe(NOW + 90_001);
});

test("G5: a job that ends while the clock is set back keeps its whole retention", () => {
  const ended = decide(jobIn("processing"), settle(COMPLETED), {
    now: NOW - DAY_MS,
    steadyNow: NOW,
    dice: 0,
  });
  if ("refused" in ended) throw new Error(ended.refused);
  const set = { now: NOW + 1000, steadyNow: NOW + 1000, dice: 0 };
  expect(decide(ended.job, expire, set)).toEqual({ refused: "not-expired" });
});

/** One step of a random life: a command, and what the clocks do before it. */
interface Step {
  readonly command: Command;
  readonly passMs: number;
  readonly stepMs: number;
  readonly dice: number;
}

const outcomes: fc.Arbitrary<AttemptOutcome> = fc.oneof(
  fc.constant(COMPLETED),
  fc.record({
    kind: fc.constant("failed" as const),
    problem: fc.constant(why),
    final: fc.boolean(),
    retryAfterMs: fc.constantFrom(0, 5000, 100_000),
  }),
  fc.constant({ kind: "canceled" as const }),
  fc.constant({ kind: "crashed" as const, detail: "exit 1" }),
  fc.constant({ kind: "released" as const }),
);

/** Attempts are named as the distance to the current one, so that most are right and some are stale. */
const distance = fc.constantFrom(0, 0, 0, 0, -1, 1);

const commands: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.constant(claim) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("settle" as const), attempt: distance, outcome: outcomes }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("heartbeat" as const),
      attempt: distance,
      progress: fc.constantFrom(null, 0, 10, 100),
      message: fc.constantFrom(null, "a", "b"),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("heartbeat" as const),
      attempt: distance,
      checkpoint: fc.constantFrom("1", "2"),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: "cancel" as const }) },
  { weight: 3, arbitrary: fc.constant(reclaim) },
  { weight: 2, arbitrary: fc.constant(expire) },
);

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.record({
    command: commands,
    passMs: fc.constantFrom(0, 1, 700, 4000, 16_000, 80_000, DAY_MS / 2, 2 * DAY_MS),
    stepMs: fc.constantFrom(0, 0, 0, 0, 0, -1, 1, -DAY_MS, DAY_MS),
    dice: fc.double({ min: 0, max: 0.999, noNaN: true }),
  }),
  { minLength: 5, maxLength: 60, size: "max" },
);

const submissions: fc.Arbitrary<Submission> = fc.record({
  id: fc.constant("an-id"),
  owner: fc.constant("owner"),
  operation: fc.constant("render"),
  policy: fc.record({
    maxAttempts: fc.integer({ min: 1, max: 4 }),
    backoff: fc.constant(policy.backoff),
    timeoutMs: fc.constantFrom(1000, 60_000, DAY_MS),
    leaseMs: fc.constantFrom(1000, 15_000),
    graceMs: fc.constantFrom(0, 10_000),
    retentionMs: fc.constantFrom(0, 60_000, DAY_MS),
    priority: fc.constant(0),
    weight: fc.constant(1),
    running: fc.constant(null),
    isolated: fc.boolean(),
  }),
  input: fc.constant('{"a":1}'),
  upload: fc.constant(null),
  trace: fc.constant("00-1-2-01"),
  delayMs: fc.constantFrom(0, 5000),
  startWithinMs: fc.constantFrom(null, 1000, 20_000),
});

/** What happened between two states of a job. */
interface Passage {
  readonly before: Job;
  readonly command: Command;
  readonly moment: Required<Moment>;
  readonly decision: Decision;
  /** Outcomes of kind `released` that had an effect so far. */
  readonly releases: number;
  /** The steady clock when it settled. */
  readonly settledAt: number | null;
}

/** Lives a random life and shows each decision to `judge`. */
function live(submitted: Submission, life: readonly Step[], judge: (passage: Passage) => void): void {
  let steadyNow = NOW;
  let now = NOW;
  let releases = 0;
  let settledAt: number | null = null;
  const first = decide(null, { do: "submit", submission: submitted, row: 7, turn: 1 }, { now, dice: 0 });
  if ("refused" in first) throw new Error("A submit is never refused.");
  let job = deepFreeze(first.job);
  for (const step of life) {
    steadyNow += step.passMs;
    now += step.passMs + step.stepMs;
    const command =
      "attempt" in step.command
        ? { ...step.command, attempt: step.command.attempt + job.attempt }
        : step.command;
    const moment = { now, steadyNow, dice: step.dice };
    const before = job;
    const decision = decide(before, deepFreeze(command), moment);
    if (!("refused" in decision)) {
      if (command.do === "settle" && command.outcome.kind === "released") releases++;
      if (isSettled(decision.job.status) && !isSettled(before.status)) settledAt = steadyNow;
      job = deepFreeze(decision.job);
    }
    judge({ before, command, moment, decision, releases, settledAt });
  }
}

/** Lives many lives; `judge` throws where something is not so. */
function always(judge: (passage: Passage) => void): void {
  fc.assert(
    fc.property(submissions, steps, (submitted, life) => live(submitted, life, judge)),
    { numRuns: 250 },
  );
}

/** The same for the passages that changed the job. */
function atEveryChange(judge: (passage: Passage & { readonly after: Job }) => void): void {
  always((passage) => {
    const { decision, before } = passage;
    if (!("refused" in decision) && decision.job !== before) judge({ ...passage, after: decision.job });
  });
}

describe("in every life of a job", () => {
  test("a change that is told raises the revision by one, and what is not told changes no more than lease and checkpoint", () => {
    always(({ before, decision }) => {
      if ("refused" in decision) return;
      const { job, events } = decision;
      if (events.length > 0) expect(job.revision).toBe(before.revision + 1);
      else expect({ ...job, leaseUntil: before.leaseUntil, checkpoint: before.checkpoint }).toEqual(before);
    });
  });

  test("the same decision is made of the same job, command and moment", () => {
    always(({ before, command, moment, decision }) => {
      expect(decide(before, command, moment)).toEqual(decision);
      expect(decide(structuredClone(before), structuredClone(command), { ...moment })).toEqual(decision);
    });
  });

  test("C3: what has settled changes no more, until it expires, and then only once", () => {
    atEveryChange(({ before, after, command }) => {
      expect(before.goneAt).toBeNull();
      if (!isSettled(before.status)) return;
      expect(command.do).toBe("expire");
      const { goneAt, revision, updatedAt, input, trace, message, result, problem: bad, ...rest } = after;
      expect(goneAt).not.toBeNull();
      expect([input, trace, message, result, bad]).toEqual(["null", null, null, null, null]);
      expect(before).toMatchObject(rest);
      void [revision, updatedAt];
    });
  });

  test("what was accepted is what stays", () => {
    atEveryChange(({ before, after }) => {
      const fixed = ({ row, id, owner, operation, policy: p, turn, createdAt, startBy }: Job) => [
        row,
        id,
        owner,
        operation,
        p,
        turn,
        createdAt,
        startBy,
      ];
      expect(fixed(after)).toEqual(fixed(before));
      if (after.goneAt === null) expect([after.input, after.trace]).toEqual([before.input, before.trace]);
    });
  });

  test("C2: a word of another attempt than the running one has no effect", () => {
    always(({ before, command, decision }) => {
      if (!("attempt" in command)) return;
      if (before.status === "processing" && command.attempt === before.attempt) return;
      expect(decision).toEqual({ refused: before.goneAt === null ? "lease-lost" : "not-found" });
    });
  });

  test("C4: attempts rise by one with a claim only, and are bounded by failures, crashes and releases", () => {
    atEveryChange(({ before, after, command, releases }) => {
      expect(after.attempt).toBe(before.attempt + (command.do === "claim" ? 1 : 0));
      expect(after.attempt).toBeLessThanOrEqual(after.failures + after.crashes + releases + 1);
      expect(after.failures).toBeLessThanOrEqual(after.policy.maxAttempts);
      expect(after.crashes).toBeLessThanOrEqual(MAX_CRASHES);
      if (after.status === "queued") {
        expect(after.failures).toBeLessThan(after.policy.maxAttempts);
        expect(after.crashes).toBeLessThan(MAX_CRASHES);
      }
    });
  });

  test("C4: failures and crashes are counted apart", () => {
    atEveryChange(({ before, after, command, moment }) => {
      const failed = after.failures - before.failures;
      const crashed = after.crashes - before.crashes;
      const kind = command.do === "settle" ? command.outcome.kind : command.do;
      if (kind === "crashed") expect([failed, crashed]).toEqual([0, 1]);
      else if (kind === "failed" || kind === "canceled")
        expect([failed, crashed]).toEqual([before.cancelRequestedAt === null ? 1 : 0, 0]);
      else if (kind === "reclaim" && before.status === "processing") {
        if (crashed > 0) expect(before.leaseUntil).toBeLessThanOrEqual(moment.now);
        expect(failed + crashed).toBeLessThanOrEqual(1);
      } else expect([failed, crashed]).toEqual([0, 0]);
    });
  });

  test("events say what changed", () => {
    atEveryChange(({ before, after, decision }) => {
      const events = "refused" in decision ? [] : decision.events;
      const progressed = before.progress !== after.progress || before.message !== after.message;
      const asked = before.cancelRequestedAt !== after.cancelRequestedAt;
      if (after.goneAt !== null) expect(events).toEqual(["expired"]);
      else if (isSettled(after.status)) expect(events).toEqual([after.status]);
      else if (after.status === "queued") expect(events).toEqual(["retrying"]);
      else if (before.status === "queued") expect(events).toEqual(["started"]);
      else expect(events).toEqual(asked ? ["cancel-requested"] : progressed ? ["progress"] : []);
    });
  });

  test("its fields say who may act next", () => {
    atEveryChange(({ after }) => {
      const running = after.status === "processing";
      expect([after.worker !== null, after.leaseUntil !== null]).toEqual([running, running]);
      const over = isSettled(after.status);
      expect([after.finishedAt !== null, after.expiresAt !== null]).toEqual([over, over]);
      if (over) expect(after.checkpoint).toBeNull();
      if (after.status === "queued") {
        expect([after.progress, after.message, after.result]).toEqual([null, null, null]);
        // One that was asked to stop never comes back.
        expect(after.cancelRequestedAt).toBeNull();
      }
      if (after.goneAt === null) expect(after.result !== null).toBe(after.status === "completed");
    });
  });

  test("no attempt begins before it is due, or after its start deadline", () => {
    atEveryChange(({ before, command, moment }) => {
      if (command.do !== "claim") return;
      expect(isDue(before, moment.now)).toBe(true);
      if (before.attempt === 0 && before.startBy !== null) expect(moment.now).toBeLessThan(before.startBy);
    });
  });

  test("G5: nothing expires before its retention has really passed, wherever the clock is set meanwhile", () => {
    atEveryChange(({ before, command, moment, settledAt }) => {
      if (command.do !== "expire") return;
      expect(moment.steadyNow - (settledAt ?? Number.POSITIVE_INFINITY)).toBeGreaterThanOrEqual(
        before.policy.retentionMs,
      );
    });
  });
});

function print(table: readonly Line[]): string {
  const head = `# The machine

A job is changed by one pure function, \`decide(before, command, moment)\` in \`src/core/machine.ts\`. This is its whole
truth table, printed and checked by \`src/core/machine.test.ts\` (\`UPDATE_DOCS=1 npx vitest run src/core/machine.test.ts\`
prints it anew).

- **→ completed: completed** – the job goes there; behind the colon is the event that tells of it.
- **stays: progress** – the status stays, other fields change.
- **nothing** – what was asked for is so already; no change, no event.
- every other word is the refusal: nothing was changed.

"Earlier attempt" stands for every attempt number but the running one: that is the fence.

`;
  const rows = [
    ["command", "when", ...PLACES.map((place) => (place === "none" ? "no job" : place))],
    ["---", "---", ...PLACES.map(() => "---")],
    ...table.map(({ command, when, cells }) => [
      command,
      when,
      ...cells.map((cell) => (cell.startsWith("→") || cell.startsWith("stays") ? `**${cell}**` : cell)),
    ]),
  ];
  return `${head}${rows.map((cells) => `| ${cells.join(" | ")} |`).join("\n")}\n`;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
