// The life of one attempt: its input is made ready, its handler runs, and it is settled, once.
//
//   begin ──► running ──────────────► ended ──► settled
//                │  the handler's end   ▲    (or lost: then nobody is told)
//                │ canceled, time up,   │
//                ▼ shutting down, lost  │
//            interrupted ───────────────┘ its grace is over: abandoned
//
// Most attempts are short and use next to nothing of what they may use, so all of it is made on first use.

import type { Blobs } from "../blob/blobs.ts";
import type { Attempts, Beat } from "../core/attempts.ts";
import { type AttemptLog, Interruption, type InterruptionCause, type StoredFile } from "../core/handler.ts";
import type { Job, Status } from "../core/job.ts";
import type { AttemptOutcome } from "../core/machine.ts";
import type { ReadyOperation } from "../core/operations.ts";
import { problem } from "../core/problem.ts";
import type { Checked } from "../core/schema.ts";
import type { Alarm, Alarms } from "./alarms.ts";
import { Files, type SaveFrom } from "./files.ts";
import { outcomeOfError, outcomeOfResult } from "./outcome.ts";
import { Reports } from "./reports.ts";

/** Where a worker writes its log: a pino logger is one. */
export interface WorkerLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What an attempt needs of the worker that runs it. */
export interface AttemptHost {
  readonly attempts: Attempts;
  readonly blobs: Blobs;
  readonly log: WorkerLog;
  readonly alarms: Alarms;
  /** The ledger renews the lease: no heartbeats from here. */
  readonly held: boolean;
  readonly scratchFolder: string;
  readonly maxFileBytes: number;
  address(owner: string, id: string): string;
  /** The handler is over, or given up: its slot is free. `settled` follows. */
  ended(attempt: Attempt): void;
  /** There is nothing more to say. `status` is the job's; null where the attempt was lost. */
  settled(attempt: Attempt, status: Status | null): void;
  /** A handler that was given up ended after all. */
  returned(attempt: Attempt): void;
  /** Something to wait for before the worker has stopped. */
  await(work: Promise<unknown>): void;
}

/** How an operation's attempts are run: in process, or by a thread or process. Gives or throws what the handler does. */
export type Run = (input: unknown, attempt: Attempt) => unknown;

// A stronger cause takes the place of a weaker one: whoever lost the lease has nothing more to settle.
const STRENGTH: Record<InterruptionCause, number> = {
  "shutting-down": 1,
  "time-up": 2,
  canceled: 3,
  "lease-lost": 4,
};

const FIRST_RETRY_MS = 50;
const MAX_RETRY_MS = 5000;

export class Attempt implements Alarm {
  readonly job: Job;
  readonly ready: ReadyOperation;
  /** When the run limit, or the grace after it, is over. */
  at: number;
  /** Ends by force what runs outside of this thread. */
  onAbandon: (() => void) | null = null;
  /** Tells what runs outside of this thread. */
  onInterrupt: ((cause: InterruptionCause) => void) | null = null;
  /** Given up while its handler still ran. */
  abandoned = false;

  readonly #host: AttemptHost;
  #cause: InterruptionCause | null = null;
  #ended = false;
  #settled = false;
  #controller: AbortController | null = null;
  #reports: Reports | null = null;
  #files: Files | null = null;
  /** The lease is good until this, by our own telling; only where we renew it ourselves. */
  #leaseUntil = Number.POSITIVE_INFINITY;
  #pulse: Alarm | null = null;

  /** `claimedAt`: when it was asked for, so that its lease ends here no later than in the ledger. */
  constructor(job: Job, ready: ReadyOperation, host: AttemptHost, claimedAt: number, now: number) {
    this.job = job;
    this.ready = ready;
    this.#host = host;
    this.at = now + job.policy.timeoutMs;
    if (!host.held) this.#keepLease(claimedAt);
  }

  get cause(): InterruptionCause | null {
    return this.#cause;
  }

  begin(run: Run): void {
    const { input } = this.ready;
    try {
      const value: unknown = JSON.parse(this.job.input);
      const checked = input === null ? null : input.check(value);
      if (checked === null) this.#run(run, value);
      else if (checked instanceof Promise) checked.then((found) => this.#runChecked(run, found), this.#threw);
      else this.#runChecked(run, checked);
    } catch (error) {
      this.#threw(error);
    }
    if (!this.#ended) this.#host.alarms.add(this);
  }

  // The definition may have changed since the job was accepted.
  #runChecked(run: Run, checked: Checked): void {
    if ("value" in checked) {
      this.#run(run, checked.value);
      return;
    }
    const detail = "The operation's input schema has changed since the job was accepted.";
    this.#end({
      kind: "failed",
      problem: problem("invalid-input", detail, { errors: checked.errors }),
      final: true,
    });
  }

  #run(run: Run, input: unknown): void {
    // It was interrupted before it began.
    if (this.#ended) return;
    try {
      const given = run(input, this);
      if (given instanceof Promise) given.then(this.#returned, this.#threw);
      else if (isThenable(given)) Promise.resolve(given).then(this.#returned, this.#threw);
      else this.#returned(given);
    } catch (error) {
      this.#threw(error);
    }
  }

  readonly #returned = (value: unknown): void => {
    if (this.#ended) {
      this.#late();
      return;
    }
    try {
      const outcome = outcomeOfResult(value, this.#files?.saved ?? null, this.ready.output);
      if (outcome instanceof Promise) outcome.then((judged) => this.#end(judged), this.#threw);
      else this.#end(outcome);
    } catch (error) {
      this.#threw(error);
    }
  };

  readonly #threw = (error: unknown): void => {
    if (this.#ended) this.#late();
    else this.#end(judge(error, this.#cause));
  };

  #late(): void {
    if (!this.abandoned) return;
    this.abandoned = false;
    this.#host.returned(this);
  }

  /** Fires the signal. From then on the handler has the operation's grace to end by itself. */
  interrupt(cause: InterruptionCause): void {
    if (this.#cause !== null && STRENGTH[cause] <= STRENGTH[this.#cause]) return;
    this.#cause = cause;
    if (this.#ended) return;
    // What shuts the worker down sets the time for that; the run limit stays.
    if (cause !== "shutting-down") {
      this.at = Math.min(this.at, performance.now()) + this.job.policy.graceMs;
      this.#host.alarms.add(this);
    }
    this.#controller?.abort(new Interruption(cause));
    this.onInterrupt?.(cause);
  }

  ring(): void {
    if (this.#cause === null || this.#cause === "shutting-down") this.interrupt("time-up");
    else this.abandon();
  }

  /** Ends the attempt without waiting for its handler any longer. */
  abandon(): void {
    if (this.#ended) return;
    const { job } = this;
    const cause = this.#cause ?? "shutting-down";
    this.abandoned = this.onAbandon === null;
    this.onAbandon?.();
    this.#host.log.warn(
      { job: job.id, operation: job.operation, attempt: job.attempt, reason: cause },
      this.abandoned
        ? "The handler went on after its grace; it is no longer waited for."
        : "The handler went on after its grace; its thread or process was killed.",
    );
    this.#end(outcomeOfError(new Interruption(cause), cause));
  }

  #end(outcome: AttemptOutcome | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#host.alarms.remove(this);
    // Whoever took it over is the one to settle it.
    const mine = this.#cause === "lease-lost" ? null : outcome;
    if (mine !== null) this.#tell(mine);
    this.#host.ended(this);
    if (mine === null) this.#done(null);
  }

  #tell(outcome: AttemptOutcome): void {
    const last = this.#reports?.take() ?? null;
    if (last === null) {
      this.#settle(outcome, FIRST_RETRY_MS);
      return;
    }
    const told = this.#beat(last).catch(() => false);
    // In process the writes keep their order by themselves; over a wire one has to wait for the other.
    if (this.#host.held) this.#settle(outcome, FIRST_RETRY_MS);
    else void told.then(() => this.#settle(outcome, FIRST_RETRY_MS));
  }

  #settle(outcome: AttemptOutcome, waitMs: number): void {
    if (this.#settled) return;
    if (this.#cause === "lease-lost") {
      this.#done(null);
      return;
    }
    this.#host.attempts.settle({ row: this.job.row, attempt: this.job.attempt }, outcome).then(
      (answer) => this.#done("refused" in answer ? null : answer.status),
      (error) => {
        const { id, operation, attempt } = this.job;
        this.#host.log.warn(
          { job: id, operation, attempt, err: error },
          "The outcome can't be recorded now; it is tried again.",
        );
        const again = () => this.#settle(outcome, Math.min(MAX_RETRY_MS, waitMs * 2));
        this.#host.alarms.add({ at: performance.now() + waitMs, ring: again });
      },
    );
  }

  /** Gives up on settling, as when the worker stops and the store stays away. */
  forget(): void {
    if (this.#ended) this.#done(null);
  }

  #done(status: Status | null): void {
    if (this.#settled) return;
    this.#settled = true;
    if (this.#pulse !== null) this.#host.alarms.remove(this.#pulse);
    if (this.#files !== null) this.#host.await(this.#files.remove());
    this.#host.settled(this, status);
  }

  // A worker that is not the ledger's own says three times in each lease that it lives.
  #keepLease(claimedAt: number): void {
    const { leaseMs } = this.job.policy;
    this.#leaseUntil = claimedAt + leaseMs;
    const pulse: Alarm = {
      at: claimedAt + leaseMs / 3,
      ring: (now) => {
        if (this.#settled) return;
        if (now >= this.#leaseUntil) return this.interrupt("lease-lost");
        pulse.at = Math.min(now + leaseMs / 3, this.#leaseUntil);
        this.#host.alarms.add(pulse);
        this.#beat({}).catch(() => {});
      },
    };
    this.#pulse = pulse;
    this.#host.alarms.add(pulse);
  }

  async #beat(beat: Beat): Promise<boolean> {
    const sentAt = performance.now();
    const answer = await this.#host.attempts.heartbeat(
      { row: this.job.row, attempt: this.job.attempt },
      beat,
    );
    if ("refused" in answer) {
      this.interrupt("lease-lost");
      return false;
    }
    if (!this.#host.held) this.#leaseUntil = sentAt + this.job.policy.leaseMs;
    if (answer.cancel) this.interrupt("canceled");
    return true;
  }

  // From here on: what the handler may do.

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#cause !== null) this.#controller.abort(new Interruption(this.#cause));
    }
    return this.#controller.signal;
  }

  get idempotencyKey(): string {
    return this.#host.address(this.job.owner, this.job.id);
  }

  get files(): Files {
    if (this.#files === null) {
      const { blobs, scratchFolder, maxFileBytes } = this.#host;
      const { owner, id, attempt } = this.job;
      const address = this.#host.address(owner, id);
      this.#files = new Files({ blobs, address, attempt, scratchFolder, maxFileBytes });
      if (this.#ended) void this.#files.remove();
    }
    return this.#files;
  }

  get log(): AttemptLog {
    const { log } = this.#host;
    const { id: job, operation, attempt } = this.job;
    const write =
      (level: keyof AttemptLog) => (message: string, fields?: Readonly<Record<string, unknown>>) =>
        log[level]({ job, operation, attempt, ...(fields === undefined ? {} : { fields }) }, message);
    return { info: write("info"), warn: write("warn"), error: write("error") };
  }

  progress(percent: number | null, message?: string): void {
    if (this.#ended) return;
    this.#reports ??= new Reports(this.#host.alarms, (report) => this.#beat(report));
    this.#reports.report(percent, message);
  }

  /** Stores JSON text as the checkpoint. Rejects with `Interruption` where the attempt is no longer this worker's. */
  async checkpoint(text: string): Promise<void> {
    for (let waitMs = FIRST_RETRY_MS; ; waitMs = Math.min(MAX_RETRY_MS, waitMs * 2)) {
      if (this.#ended || this.#cause === "lease-lost") throw new Interruption("lease-lost");
      try {
        if (await this.#beat({ ...this.#reports?.take(), checkpoint: text })) return;
      } catch (error) {
        // A store that is away comes back; a handler that is to stop need not wait for that.
        if ((error as Error).name !== "StoreUnavailable") throw error;
        if (this.#cause !== null) throw new Interruption(this.#cause);
        await new Promise<void>((ring) =>
          this.#host.alarms.add({ at: performance.now() + waitMs, ring: () => ring() }),
        );
      }
    }
  }

  save(name: string, from: SaveFrom, type: string): Promise<StoredFile> {
    return this.files.save(name, from, type);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function"
  );
}

// Even reading an error can throw: its members may be anything.
function judge(error: unknown, cause: InterruptionCause | null): AttemptOutcome | null {
  try {
    return outcomeOfError(error, cause);
  } catch {
    return { kind: "failed", problem: problem("attempt-failed"), final: false };
  }
}
