// Digest → row, in typed arrays: a random key costs no random page of a B-tree, and a million of them 24 MB.
//
// Only 64 bits of a digest are held, so a hit is a candidate: the caller compares the whole digest with the row's.

import type { Digest } from "../store.ts";

const FREE = 0;
const REMOVED = 0xffff_ffff;

export class Digests {
  #size = 0;
  /** Slots in use, removed ones included: they end no search. */
  #used = 0;
  #high = new Uint32Array(1024);
  #low = new Uint32Array(1024);
  #rows = new Uint32Array(1024);

  get size(): number {
    return this.#size;
  }

  /** The row of the digest: the first candidate that `isIt` confirms; 0 for none. */
  find(digest: Digest, isIt: (row: number) => boolean): number {
    const high = parse(digest, 0);
    const low = parse(digest, 8);
    const mask = this.#rows.length - 1;
    for (let slot = low & mask; ; slot = (slot + 1) & mask) {
      const row = this.#rows[slot] as number;
      if (row === FREE) return 0;
      if (row !== REMOVED && this.#high[slot] === high && this.#low[slot] === low && isIt(row)) return row;
    }
  }

  add(digest: Digest, row: number): void {
    if ((this.#used + 1) * 4 > this.#rows.length * 3) this.#grow();
    this.#place(parse(digest, 0), parse(digest, 8), row);
    this.#size++;
    this.#used++;
  }

  remove(digest: Digest, row: number): void {
    const high = parse(digest, 0);
    const low = parse(digest, 8);
    const mask = this.#rows.length - 1;
    for (let slot = low & mask; this.#rows[slot] !== FREE; slot = (slot + 1) & mask) {
      if (this.#rows[slot] === row && this.#high[slot] === high && this.#low[slot] === low) {
        this.#rows[slot] = REMOVED;
        this.#size--;
        return;
      }
    }
  }

  #place(high: number, low: number, row: number): void {
    const mask = this.#rows.length - 1;
    let slot = low & mask;
    while (this.#rows[slot] !== FREE) slot = (slot + 1) & mask;
    this.#high[slot] = high;
    this.#low[slot] = low;
    this.#rows[slot] = row;
  }

  #grow(): void {
    const { 0: high, 1: low, 2: rows } = [this.#high, this.#low, this.#rows];
    // Many removed ones: the same size, cleaned, may do.
    const slots = this.#size * 2 > rows.length ? rows.length * 2 : rows.length;
    this.#high = new Uint32Array(slots);
    this.#low = new Uint32Array(slots);
    this.#rows = new Uint32Array(slots);
    this.#used = this.#size;
    for (let slot = 0; slot < rows.length; slot++) {
      const row = rows[slot] as number;
      if (row !== FREE && row !== REMOVED) this.#place(high[slot] as number, low[slot] as number, row);
    }
  }
}

// Eight hex digits. `parseInt` of a slice takes several times as long.
function parse(digest: Digest, from: number): number {
  let bits = 0;
  for (let at = from; at < from + 8; at++) {
    const code = digest.charCodeAt(at);
    // "0" is 48 and "a" is 97; "A" is 65 and counts as the same.
    bits = (bits << 4) | (code <= 57 ? code - 48 : (code & 15) + 9);
  }
  return bits >>> 0;
}
