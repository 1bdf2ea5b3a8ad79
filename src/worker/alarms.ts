// One timer for everything that has a time: run limits, graces, heartbeats, reports, retries. An attempt that ends before
// any of it is due costs two entries of a set, not a timer.

export interface Alarm {
  /** When to ring, on the clock of `performance.now()`: steps of the wall clock move nothing. */
  at: number;
  ring(now: number): void;
}

// The longest wait that a timer of Node takes; a longer one is looked at again then.
const MAX_WAIT_MS = 2 ** 31 - 1;

export class Alarms {
  readonly #alarms = new Set<Alarm>();
  #timer: NodeJS.Timeout | undefined;
  #armedAt = Number.POSITIVE_INFINITY;
  #closed = false;

  /** Rings once, when `at` is reached; never sooner than the next turn. Adding again with another `at` moves it. */
  add(alarm: Alarm): void {
    if (this.#closed) return;
    this.#alarms.add(alarm);
    if (alarm.at < this.#armedAt) this.#arm(alarm.at);
  }

  remove(alarm: Alarm): void {
    this.#alarms.delete(alarm);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#alarms.clear();
  }

  #arm(at: number): void {
    clearTimeout(this.#timer);
    this.#armedAt = at;
    if (at === Number.POSITIVE_INFINITY) return;
    const waitMs = Math.min(MAX_WAIT_MS, Math.max(1, Math.ceil(at - performance.now())));
    this.#timer = setTimeout(this.#fire, waitMs);
    this.#timer.unref();
  }

  readonly #fire = () => {
    const now = performance.now();
    const due: Alarm[] = [];
    let soonest = Number.POSITIVE_INFINITY;
    for (const alarm of this.#alarms) {
      if (alarm.at <= now) due.push(alarm);
      else soonest = Math.min(soonest, alarm.at);
    }
    for (const alarm of due) this.#alarms.delete(alarm);
    this.#arm(soonest);
    for (const alarm of due) alarm.ring(now);
  };
}
