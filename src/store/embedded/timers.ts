// Rows to look at again at a time: a binary heap in typed arrays. What is due is judged by the row itself, so an
// entry that was overtaken does no harm.

export class Timers {
  #times = new Float64Array(256);
  #rows = new Uint32Array(256);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(time: number, row: number): void {
    if (this.#size === this.#rows.length) this.#resize(this.#size * 2);
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if ((this.#times[parent] as number) <= time) break;
      this.#times[at] = this.#times[parent] as number;
      this.#rows[at] = this.#rows[parent] as number;
      at = parent;
    }
    this.#times[at] = time;
    this.#rows[at] = row;
  }

  /** When the first is due; null where there is none. */
  nextAt(): number | null {
    return this.#size === 0 ? null : (this.#times[0] as number);
  }

  /** Takes the first row that is due by `now`; 0 for none. */
  take(now: number): number {
    if (this.#size === 0 || (this.#times[0] as number) > now) return 0;
    const row = this.#rows[0] as number;
    const last = --this.#size;
    const time = this.#times[last] as number;
    const lastRow = this.#rows[last] as number;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= last) break;
      if (child + 1 < last && (this.#times[child + 1] as number) < (this.#times[child] as number)) child++;
      if ((this.#times[child] as number) >= time) break;
      this.#times[at] = this.#times[child] as number;
      this.#rows[at] = this.#rows[child] as number;
      at = child;
    }
    this.#times[at] = time;
    this.#rows[at] = lastRow;
    if (last > 4096 && last * 4 < this.#rows.length) this.#resize(this.#rows.length >>> 1);
    return row;
  }

  #resize(slots: number): void {
    const times = new Float64Array(slots);
    const rows = new Uint32Array(slots);
    times.set(this.#times.subarray(0, this.#size));
    rows.set(this.#rows.subarray(0, this.#size));
    this.#times = times;
    this.#rows = rows;
  }
}
