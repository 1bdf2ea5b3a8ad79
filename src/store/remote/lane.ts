// A lane gathers what is asked for while its batch is under way: the next batch is all of it. So a batch grows with the
// load, and with one more round trip everyone who waited is served.

import { StoreUnavailable } from "../store.ts";

/** What a batch may hold at most: it bounds a transaction. */
const MAX_BATCH = 2048;

/** Past this many waiting, more are refused at once. */
const MAX_WAITING = 65_536;

interface Asked<Asking, Answer> {
  readonly asking: Asking;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

export class Lane<Asking, Answer> {
  readonly #run: (batch: readonly Asking[]) => Promise<readonly (Answer | Error)[]>;
  readonly #most: number;
  #waiting: Asked<Asking, Answer>[] = [];
  #underWay = 0;
  #isScheduled = false;
  #idle: (() => void)[] = [];

  /** `run` gives an error in an answer's place where only that one is refused. `most`: how many batches may be under way at once. */
  constructor(run: (batch: readonly Asking[]) => Promise<readonly (Answer | Error)[]>, most = 1) {
    this.#run = run;
    this.#most = most;
  }

  /** @throws StoreUnavailable when too many wait already. */
  ask(asking: Asking): Promise<Answer> {
    if (this.#waiting.length >= MAX_WAITING)
      return Promise.reject(new StoreUnavailable("The store can't keep up."));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ asking, resolve, reject });
      this.#schedule();
    });
  }

  /** Resolves once nothing waits and nothing is under way. */
  async idle(): Promise<void> {
    while (this.#underWay > 0 || this.#waiting.length > 0)
      await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  get isBusy(): boolean {
    return this.#underWay > 0;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#underWay >= this.#most) return;
    this.#isScheduled = true;
    // After the I/O of this turn: all requests that came with it go together.
    setImmediate(() => {
      this.#isScheduled = false;
      void this.#flush();
    });
  }

  async #flush(): Promise<void> {
    const batch = this.#waiting.length > MAX_BATCH ? this.#waiting.splice(0, MAX_BATCH) : this.#waiting;
    if (batch === this.#waiting) this.#waiting = [];
    if (batch.length === 0) return;
    this.#underWay++;
    await this.#serve(batch);
    this.#underWay--;
    if (this.#waiting.length > 0) this.#schedule();
    else if (this.#underWay === 0) for (const done of this.#idle.splice(0)) done();
  }

  async #serve(batch: readonly Asked<Asking, Answer>[]): Promise<void> {
    try {
      const answers = await this.#run(batch.map(({ asking }) => asking));
      for (const [at, { resolve, reject }] of batch.entries()) {
        const answer = answers[at];
        if (answer instanceof Error) reject(answer);
        else resolve(answer as Answer);
      }
    } catch (error) {
      // What the engine can't digest must not take its neighbours with it.
      if (batch.length > 1 && !(error instanceof StoreUnavailable))
        for (const one of batch) await this.#serve([one]);
      else for (const { reject } of batch) reject(error);
    }
  }
}
