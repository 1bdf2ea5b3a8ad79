// Holding back for the last try of a job that lost its workers: it should run alone, but nobody else's work waits for that for
// longer than a while.

/** To become empty for it, and then while it runs: what kills a worker mostly does so at once. */
const MOST_MS = 15_000;

export class Restraint {
  readonly #onEnd: () => void;
  #timer: NodeJS.Timeout | undefined;
  #isHoldingBack = false;
  #isOver = false;

  /** `onEnd` is called when the time is up. */
  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  /** Whether nothing is to be claimed. */
  get isHoldingBack(): boolean {
    return this.#isHoldingBack;
  }

  /** Whether the time was up since this was last asked: then what still runs is not waited for, this once. */
  isOver(): boolean {
    const isOver = this.#isOver;
    this.#isOver = false;
    return isOver;
  }

  begin(): void {
    this.end();
    this.#isHoldingBack = true;
    this.#timer = setTimeout(() => {
      this.#isHoldingBack = false;
      this.#isOver = true;
      this.#onEnd();
    }, MOST_MS);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#isHoldingBack = false;
  }
}
