// Attempts that this process claimed, as they were last written: most are settled without being read again. What is remembered decides
// nothing alone: the script compares its token, and a refusal is only given on what was just read.

import type { Job } from "../../core/job.ts";
import { type Change, keepsCheckpoint } from "./change.ts";
import type { Found } from "./look.ts";

/** More are read when they are needed. */
const MOST = 20_000;

export class Held {
  readonly #found = new Map<number, Found>();
  /** Attempts whose lease this process renews: row → number. */
  readonly #leases = new Map<number, number>();

  get(row: number): Found | null {
    return this.#found.get(row) ?? null;
  }

  /** Takes in what was written. `isHeld`: the process renews the lease of the attempt that began. */
  keep(change: Change, isHeld = false): void {
    const { before, after, token } = change;
    if (after === null || after.status !== "processing") {
      this.forget(before.stored.job.row);
      this.#leases.delete(before.stored.job.row);
      return;
    }
    const oldest = this.#found.size < MOST ? undefined : this.#found.keys().next().value;
    if (oldest !== undefined) this.#found.delete(oldest);
    const stored = { ...before.stored, job: slim(after) };
    this.#found.set(after.row, { stored, token, hasCheckpoint: keepsCheckpoint(change) });
    if (isHeld) this.#leases.set(after.row, after.attempt);
  }

  forget(row: number): void {
    this.#found.delete(row);
  }

  /** Whether the lease of this attempt is renewed by this process: then its worker lives, however the clock was set. */
  holds({ row, attempt }: Job): boolean {
    return this.#leases.get(row) === attempt;
  }
}

// The input may be large, and no decision needs it.
function slim(job: Job): Job {
  const { input: _, upload: __, ...rest } = job;
  return { ...rest, input: "null", upload: null };
}
