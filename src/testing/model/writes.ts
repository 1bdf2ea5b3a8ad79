// What a step of the model asks a store for.

import { createHash } from "node:crypto";
import type { Policy } from "../../core/job.ts";
import type { AttemptOutcome } from "../../core/machine.ts";
import type { ClaimWrite, Digest, Sameness, SubmitWrite } from "../../store/store.ts";
import type { Known } from "./known.ts";
import type { ClaimStep, SubmitStep } from "./steps.ts";

const POLICY: Policy = {
  maxAttempts: 3,
  backoff: { kind: "exponential", baseMs: 1000, maxMs: 60_000, jitter: 0.5 },
  // No sum of what is let pass: it is always clear whether an attempt had its time.
  timeoutMs: 40_500,
  leaseMs: 15_250,
  graceMs: 5000,
  retentionMs: 3600_000,
  priority: 0,
  weight: 1,
  running: null,
  isolated: false,
};

const OUTCOMES: readonly AttemptOutcome[] = [
  { kind: "completed", result: { json: '{"ok":true}' }, files: [] },
  { kind: "crashed", detail: "exit 137" },
  { kind: "failed", problem: { type: "failed", title: "It failed", status: 500 }, final: false },
  { kind: "failed", problem: { type: "failed", title: "It failed", status: 500 }, final: true },
  {
    kind: "failed",
    problem: { type: "busy", title: "Busy", status: 503 },
    final: false,
    retryAfterMs: 30_000,
  },
  { kind: "released" },
  { kind: "canceled" },
];

export function outcomeOf(number: number): AttemptOutcome {
  return OUTCOMES[number % OUTCOMES.length] as AttemptOutcome;
}

/** `name` sets what one list of steps does apart from what others do; `id` is the job's, where the caller makes none. */
export function submitOf(step: SubmitStep, name: string, id: string): SubmitWrite {
  const owner = `owner ${step.owner} of ${name}`;
  const operation = `operation ${step.operation} of ${name}`;
  const input = `{"payload":${step.payload}}`;
  const isMade = step.same === "id-0" || step.same === "id-1";
  const made = isMade ? `${step.same} of ${name}` : id;
  const fingerprint = digest(`sent ${input}`);
  return {
    do: "submit",
    submission: {
      id: made,
      owner,
      operation,
      policy: { ...POLICY, ...step.policy },
      input,
      upload: null,
      trace: null,
      delayMs: step.delayMs,
      startWithinMs: step.startWithinMs,
    },
    sameness: samenessOf(step.same, `${owner} ${operation}`, input, fingerprint),
    address: addressOf(owner, made),
    idFingerprint: isMade ? fingerprint : null,
    limits: { active: step.active, operationBacklog: step.operationBacklog, backlog: step.backlog },
  };
}

function samenessOf(same: string, scope: string, input: string, fingerprint: Digest): Sameness | null {
  if (same.startsWith("key")) return { key: digest(`${scope} ${same}`), fingerprint, reach: "life" };
  if (same !== "content") return null;
  const content = digest(`${scope} ${input}`);
  return { key: content, fingerprint: content, reach: "live" };
}

/** `active` are the jobs that are known not to have settled; `id` names a worker that has one claim only. */
export function claimOf(step: ClaimStep, active: Iterable<Known>, name: string, id: string): ClaimWrite {
  // A worker has one claim at a time.
  const worker = step.waits ? `worker ${id}` : `worker ${step.worker} of ${name}`;
  const running = [...active].filter((job) => job.worker === worker);
  const exposed = running.filter((job) => !job.write.submission.policy.isolated);
  const slots = step.slots.map((most, index) => [`operation ${index} of ${name}`, most] as const);
  return {
    do: "claim",
    worker,
    slots: Object.fromEntries(slots),
    limit: step.limit,
    running: exposed.length,
    suspects: exposed.filter(({ crashes }) => crashes > 0).length,
    held: step.held,
    ...(step.waits ? { waitMs: 600_000 } : {}),
  };
}

export function addressOf(owner: string, id: string): Digest {
  return digest(`job ${owner} ${id}`);
}

function digest(text: string): Digest {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}
