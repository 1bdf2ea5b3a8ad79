// The rows in use, held as objects. Two generations: when the young one is full it becomes the old one, and what is asked
// for moves back. So forgetting costs nothing per row, where taking the oldest out of one map would search for it.

import type { Job } from "../../core/job.ts";
import type { Row } from "../embedded/rows.ts";

/** Rows of one generation. */
const MOST_ROWS = 10_000;

/** What they may hold of inputs, checkpoints and results, in characters. */
const MOST_CHARS = 16 * 1024 * 1024;

export class Hot {
  #young = new Map<number, Row>();
  #old = new Map<number, Row>();
  #chars = 0;

  get(number: number): Row | undefined {
    const young = this.#young.get(number);
    if (young !== undefined) return young;
    const old = this.#old.get(number);
    if (old !== undefined) this.set(old);
    return old;
  }

  set(row: Row): void {
    this.#young.set(row.job.row, row);
    // Counted anew with every change of a row, so a generation of busy rows is a shorter one.
    this.#chars += charsOf(row.job);
    if (this.#young.size < MOST_ROWS && this.#chars < MOST_CHARS) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#chars = 0;
  }

  delete(number: number): void {
    this.#young.delete(number);
    this.#old.delete(number);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.#chars = 0;
  }
}

function charsOf({ input, checkpoint, result }: Job): number {
  const resultChars = result !== null && "json" in result ? result.json.length : 0;
  return input.length + (checkpoint?.length ?? 0) + resultChars;
}
