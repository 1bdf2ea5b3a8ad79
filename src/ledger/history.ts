// The recent past of the feed, at hand: who lost a stream goes on where it ended, without a read of the store for each.
//
// It begins with the first who asks: until then no event is kept here.

import type { Event } from "../core/event.ts";
import type { Store } from "../store/store.ts";

/** As many events are remembered: some 10 MB at most. */
const MOST_EVENTS = 50_000;

/** How many events are read at once. */
const PAGE = 1000;

export interface History {
  /**
   * The events after `seq` of one job, or of one owner, in order. Null where some of them may be forgotten: then only the
   * job as it stands can be told.
   */
  after(
    seq: number,
    of: { readonly id: string } | { readonly owner: string },
  ): Promise<readonly Event[] | null>;
  /** The last sequence that is known of. */
  last(): Promise<number>;
  close(): void;
}

export function createHistory(store: Store, most: number = MOST_EVENTS): History {
  const recent = new Recent(most);
  let stop = () => {};
  let loading: Promise<void> | null = null;

  const load = async () => {
    // What happens while the past is read is put behind it.
    const meanwhile: Event[] = [];
    let isLoaded = false;
    stop = store.listen((events) => {
      if (isLoaded) for (const event of events) recent.add(event);
      else meanwhile.push(...events);
    });
    try {
      const end = await lastSeq(store);
      let after = Math.max(0, end - most);
      recent.begin(after);
      for (;;) {
        const page = await store.read({ get: "events", after, limit: PAGE });
        for (const event of page) recent.add(event);
        after = page.at(-1)?.seq ?? after;
        if (page.length < PAGE) break;
      }
    } catch (error) {
      stop();
      loading = null;
      throw error;
    }
    for (const event of meanwhile) recent.add(event);
    isLoaded = true;
  };
  const loaded = () => {
    loading ??= load();
    return loading;
  };

  return {
    async after(seq, of) {
      await loaded();
      return recent.after(seq, of);
    },
    async last() {
      await loaded();
      return recent.last;
    },
    close: () => stop(),
  };
}

// By doubling and halving: the feed may have millions of events, and its first ones may be forgotten.
async function lastSeq(store: Store): Promise<number> {
  const next = async (after: number) =>
    (await store.read({ get: "events", after, limit: 1 }))[0]?.seq ?? null;
  let low = (await next(0)) ?? 0;
  if (low === 0) return 0;
  let step = 1;
  while ((await next(low + step - 1)) !== null) {
    low += step;
    step *= 2;
  }
  // `low` is there, and `low + step` is not.
  let high = low + step;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if ((await next(middle - 1)) === null) high = middle;
    else low = middle;
  }
  return low;
}

/** The last events, by sequence and by job. */
class Recent {
  readonly #most: number;
  readonly #byId = new Map<string, Event[]>();
  /** A ring: the event of sequence n lies at n modulo its length. */
  readonly #ring: (Event | undefined)[];
  /** Everything after this is here. */
  #forgotten = 0;
  #last = 0;

  constructor(most: number) {
    this.#most = most;
    this.#ring = [];
  }

  get last(): number {
    return this.#last;
  }

  begin(after: number): void {
    this.#forgotten = after;
    this.#last = after;
  }

  add(event: Event): void {
    if (event.seq <= this.#last) return;
    // The store forgets events that are older than a day: before its first one there is a gap.
    if (event.seq !== this.#last + 1) this.#forgotten = Math.max(this.#forgotten, event.seq - 1);
    this.#last = event.seq;
    const at = event.seq % this.#most;
    const oldest = this.#ring[at];
    if (oldest !== undefined) this.#forget(oldest);
    this.#ring[at] = event;
    const ofJob = this.#byId.get(event.id);
    if (ofJob === undefined) this.#byId.set(event.id, [event]);
    else ofJob.push(event);
  }

  after(seq: number, of: { readonly id: string } | { readonly owner: string }): readonly Event[] | null {
    if ("id" in of) {
      const events = (this.#byId.get(of.id) ?? []).filter((event) => event.seq > seq);
      // A job whose first event is here has all of them here.
      if (seq < this.#forgotten && this.#byId.get(of.id)?.[0]?.kind !== "queued") return null;
      return events;
    }
    if (seq < this.#forgotten) return null;
    const events: Event[] = [];
    for (let at = seq + 1; at <= this.#last; at++) {
      const event = this.#ring[at % this.#most];
      if (event?.seq === at && event.owner === of.owner) events.push(event);
    }
    return events;
  }

  #forget(event: Event): void {
    this.#forgotten = Math.max(this.#forgotten, event.seq);
    const ofJob = this.#byId.get(event.id);
    if (ofJob === undefined) return;
    ofJob.shift();
    if (ofJob.length === 0) this.#byId.delete(event.id);
  }
}
