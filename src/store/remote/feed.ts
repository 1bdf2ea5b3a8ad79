// The feed in order, as one process hears it: what it committed itself is told without being read again, and what others
// committed in between is read.

import type { Event } from "../../core/event.ts";
import type { Listener } from "../store.ts";

/** How many events are read at once. */
const PAGE = 1000;

/** How long a gap may wait for the answer that fills it: another batch of this process is under way. */
const GAP_MS = 2;

export interface FeedSource {
  /** Events after `seq`, oldest first. */
  read(after: number, limit: number): Promise<readonly Event[]>;
  /** Whether a batch of this process is under way, whose events nobody has to read. */
  isWriting(): boolean;
}

export class Feed {
  readonly #source: FeedSource;
  readonly #tell: Listener;
  /** The last sequence that was told. */
  #seen: number;
  /** The last sequence that is known to be committed. */
  #known: number;
  /** Batches of this process behind a gap, by their first sequence. */
  readonly #ahead = new Map<number, readonly Event[]>();
  #isReading = false;
  #isAgain = false;
  #timer: NodeJS.Timeout | null = null;
  #isClosed = false;

  constructor(source: FeedSource, seen: number, tell: Listener) {
    this.#source = source;
    this.#seen = seen;
    this.#known = seen;
    this.#tell = tell;
  }

  /** Takes in what this process committed, in order; others may have committed in between. */
  committed(events: readonly Event[]): void {
    if (events.length === 0 || this.#isClosed) return;
    this.#known = Math.max(this.#known, (events.at(-1) as Event).seq);
    for (const run of runsOf(events)) this.#ahead.set((run[0] as Event).seq, run);
    this.#advance();
    if (this.#seen < this.#known) this.#look();
  }

  /** Somebody committed, up to `seq` where that is known. */
  hear(seq: number = Number.POSITIVE_INFINITY): void {
    if (this.#isClosed || seq <= this.#seen) return;
    if (seq !== Number.POSITIVE_INFINITY) this.#known = Math.max(this.#known, seq);
    if (this.#source.isWriting()) this.#look();
    else void this.#catchUp();
  }

  /** What is in the feed up to here is nobody's news. */
  skip(seq: number): void {
    this.#seen = Math.max(this.#seen, seq);
    this.#known = Math.max(this.#known, seq);
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #look(): void {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#catchUp();
    }, GAP_MS);
  }

  // Tells what was committed here as far as nothing is missing before it.
  #advance(): void {
    for (;;) {
      const next = this.#ahead.get(this.#seen + 1);
      if (next === undefined) return;
      this.#ahead.delete(this.#seen + 1);
      this.#seen = (next.at(-1) as Event).seq;
      this.#tell(next);
    }
  }

  // A word that comes while a page is read may tell of what that page does not have yet.
  async #catchUp(): Promise<void> {
    this.#isAgain = true;
    if (this.#isReading) return;
    this.#isReading = true;
    while (this.#isAgain && !this.#isClosed) {
      this.#isAgain = false;
      await this.#read();
    }
    this.#isReading = false;
  }

  async #read(): Promise<void> {
    for (;;) {
      const after = this.#seen;
      const events = await this.#source.read(after, PAGE).catch(() => null);
      // What can't be read now is read when the next word comes, and there is always one: the slow poll's.
      if (events === null || this.#isClosed) return;
      const news = events.filter(({ seq }) => seq > this.#seen);
      if (news.length > 0) {
        this.#seen = (news.at(-1) as Event).seq;
        for (const first of this.#ahead.keys()) if (first <= this.#seen) this.#ahead.delete(first);
        this.#tell(news);
        this.#advance();
      }
      if (events.length < PAGE) return;
    }
  }
}

// Parts without a gap.
function runsOf(events: readonly Event[]): readonly (readonly Event[])[] {
  const [first, last] = [events[0] as Event, events.at(-1) as Event];
  if (last.seq - first.seq === events.length - 1) return [events];
  const runs: Event[][] = [];
  for (const event of events) {
    const run = runs.at(-1);
    if (run !== undefined && run.at(-1)?.seq === event.seq - 1) run.push(event);
    else runs.push([event]);
  }
  return runs;
}
