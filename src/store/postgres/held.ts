// Jobs that this process works on, as it last wrote them: their next write is decided without reading them, where the row is still
// the one that this process wrote. Its `xmin`, the number of the transaction that wrote it, tells.

import type { Job } from "../../core/job.ts";

/** Past this many the oldest are read again. */
const MOST = 20_000;

/** A larger one is read again rather than held. */
const MOST_CHARS = 20_000;

export class Held {
  readonly #jobs = new Map<number, { readonly job: Job; readonly xmin: string }>();
  /** Attempts whose leases this process keeps, by row. */
  readonly #kept = new Map<number, number>();

  has(row: number): boolean {
    return this.#jobs.has(row);
  }

  /** The job, if this transaction was the last that wrote it. */
  get(row: number, xmin: string): Job | null {
    const held = this.#jobs.get(row);
    return held?.xmin === xmin ? held.job : null;
  }

  set(job: Job, xmin: string): void {
    this.#jobs.delete(job.row);
    if (job.input.length + (job.checkpoint?.length ?? 0) > MOST_CHARS) return;
    this.#jobs.set(job.row, { job, xmin });
    if (this.#jobs.size <= MOST) return;
    for (const oldest of this.#jobs.keys()) {
      this.#jobs.delete(oldest);
      return;
    }
  }

  delete(row: number): void {
    this.#jobs.delete(row);
    this.#kept.delete(row);
  }

  /** Whether the lease of this attempt is kept by this process. */
  keeps(row: number, attempt: number): boolean {
    return this.#kept.get(row) === attempt;
  }

  keep(row: number, attempt: number | null): void {
    if (attempt === null) this.#kept.delete(row);
    else {
      // Of those that were lost nobody says so.
      if (this.#kept.size > MOST) this.#kept.clear();
      this.#kept.set(row, attempt);
    }
  }
}
