// Progress reports, thinned out: a handler may report as often as it likes, the ledger hears of it a few times a second.

import type { Alarm, Alarms } from "./alarms.ts";

export interface Report {
  readonly progress: number | null;
  /** Missing where the last message still holds. */
  readonly message?: string;
}

/** The shortest time between two reports of an attempt. */
export const REPORT_EVERY_MS = 200;

const MAX_MESSAGE = 1000;

export class Reports implements Alarm {
  at = Number.POSITIVE_INFINITY;
  readonly #alarms: Alarms;
  readonly #send: (report: Report) => Promise<unknown> | undefined;
  #latest: Report | null = null;
  #sentAt = Number.NEGATIVE_INFINITY;
  #sending = false;

  constructor(alarms: Alarms, send: (report: Report) => Promise<unknown> | undefined) {
    this.#alarms = alarms;
    this.#send = send;
  }

  /** Sends the first at once, and then the latest every 200 ms. */
  report(percent: number | null, message?: string): void {
    const progress =
      typeof percent === "number" && Number.isFinite(percent) ? Math.min(100, Math.max(0, percent)) : null;
    const said = message === undefined ? this.#latest?.message : String(message).slice(0, MAX_MESSAGE);
    this.#latest = said === undefined ? { progress } : { progress, message: said };
    const now = performance.now();
    // A handler that never lets go of its thread reports all the same: its own calls tell the time.
    if (now - this.#sentAt >= REPORT_EVERY_MS) this.ring(now);
    else this.#wait();
  }

  /** What was not sent yet; whoever takes it sends it. */
  take(): Report | null {
    const latest = this.#latest;
    this.#latest = null;
    this.#alarms.remove(this);
    return latest;
  }

  ring(now: number): void {
    if (this.#sending) return;
    const report = this.take();
    if (report === null) return;
    this.#sentAt = now;
    const sent = this.#send(report);
    if (sent === undefined) return;
    this.#sending = true;
    sent.then(this.#sent, () => {
      // What could not be sent is still the latest, unless a newer one came.
      this.#latest ??= report;
      this.#sent();
    });
  }

  readonly #sent = () => {
    this.#sending = false;
    if (this.#latest !== null) this.#wait();
  };

  #wait(): void {
    this.at = this.#sentAt + REPORT_EVERY_MS;
    this.#alarms.add(this);
  }
}
