// The store in memory: for tests, and for work that may be forgotten. Nothing survives the process.

import { randomBytes } from "node:crypto";
import type { Durations } from "../core/durations.ts";
import type { Event } from "../core/event.ts";
import { type Clock, createClock } from "./clock.ts";
import { answer as answerQuery } from "./embedded/answer.ts";
import { apply } from "./embedded/apply.ts";
import { Book } from "./embedded/book.ts";
import type { Row, Rows } from "./embedded/rows.ts";
import { type Late, Standing } from "./embedded/standing.ts";
import { renew } from "./embedded/sweep.ts";
import type {
  Answer,
  ClaimWrite,
  Listener,
  ListFilter,
  Query,
  Store,
  Write,
  Written,
  WrittenOf,
} from "./store.ts";
import { StoreUnavailable } from "./store.ts";

const LOOK_EVERY_MS = 50;

/** Opens an empty store that lives as long as the process. Its durability is said to be `process`, but a restart empties it. */
export function openMemory({ clock = createClock() }: { clock?: Clock } = {}): Store {
  const book = new Book(new MapRows(), { row: 1, seq: 1 });
  const listeners = new Set<Listener>();
  const standing = new Standing();
  const waiting = new Map<number, (written: Written) => void>();
  let closed = false;

  const answer = (late: readonly Late[]) => {
    for (const [number, written] of late) {
      waiting.get(number)?.(written);
      waiting.delete(number);
    }
  };
  const commit = <T>(work: () => T): T => {
    book.begin();
    const done = work();
    const served = standing.serve(book, clock.moment());
    const events = book.end();
    standing.answered(served);
    answer(served);
    if (events.length > 0) for (const listener of listeners) listener(events);
    return done;
  };
  const looking = setInterval(() => {
    const { now } = clock.moment();
    if (book.holds || (standing.size > 0 && book.isDue(now))) commit(() => renew(book, clock.moment()));
    answer(standing.end(now));
  }, LOOK_EVERY_MS);
  looking.unref();

  return {
    durability: "process",
    name: "memory",
    async write<W extends Write>(write: W) {
      if (closed) throw new StoreUnavailable("The store is closed.");
      if (write.do === "withdraw") answer(standing.end(Number.NEGATIVE_INFINITY, write.worker));
      const written = commit(() => apply(book, write, clock.moment()));
      if (!standing.waits(write, written, clock.moment().now)) return written as WrittenOf<W>;
      const number = standing.add(write as ClaimWrite, clock.moment().now);
      return await new Promise<WrittenOf<W>>((resolve) => {
        waiting.set(number, resolve as (written: Written) => void);
      });
    },
    async read<Q extends Query>(query: Q) {
      if (closed) throw new StoreUnavailable("The store is closed.");
      return answerQuery(book, query, clock.moment()) as Answer<Q>;
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      closed = true;
      clearInterval(looking);
      answer(standing.end(Number.POSITIVE_INFINITY));
    },
  };
}

class MapRows implements Rows {
  readonly #rows = new Map<number, Row>();
  readonly #durations: Record<string, Durations> = {};
  readonly #paused = new Set<string>();
  readonly #kept = new Map<string, string>();
  #secret = randomBytes(32).toString("hex");
  #events: Event[] = [];

  get size(): number {
    return this.#rows.size;
  }
  get(row: number): Row | null {
    return this.#rows.get(row) ?? null;
  }
  insert(row: Row): void {
    this.#rows.set(row.job.row, row);
  }
  update(row: Row): void {
    this.#rows.set(row.job.row, row);
  }
  remove(row: number): void {
    this.#rows.delete(row);
  }
  list(filter: ListFilter): readonly Row[] {
    const found: Row[] = [];
    for (const row of [...this.#rows.values()].reverse()) {
      if (found.length === filter.limit) break;
      if (matches(row, filter)) found.push(row);
    }
    return found;
  }
  after(row: number, limit: number): readonly Row[] {
    return [...this.#rows.values()]
      .filter(({ job }) => job.row > row)
      .sort((a, b) => a.job.row - b.job.row)
      .slice(0, limit);
  }
  append(events: readonly Event[]): void {
    this.#events.push(...events);
  }
  eventsAfter(seq: number, limit: number): readonly Event[] {
    return this.#events.filter((event) => event.seq > seq).slice(0, limit);
  }
  forgetEvents(before: number): void {
    const first = this.#events[0];
    if (first !== undefined && first.at < before)
      this.#events = this.#events.filter((event) => event.at >= before);
  }
  secret(): string {
    return this.#secret;
  }
  keepSecret(secret: string): void {
    this.#secret = secret;
  }
  durations(): Readonly<Record<string, Durations>> {
    return this.#durations;
  }
  keepDurations(operation: string, durations: Durations): void {
    this.#durations[operation] = durations;
  }
  kept(prefix: string): Readonly<Record<string, string>> {
    return Object.fromEntries(
      [...this.#kept].filter(([name]) => name.startsWith(prefix)).sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  }
  keep(name: string, value: string | null): void {
    if (value === null) this.#kept.delete(name);
    else this.#kept.set(name, value);
  }
  paused(): readonly string[] {
    return [...this.#paused];
  }
  keepPaused(operation: string, paused: boolean): void {
    if (paused) this.#paused.add(operation);
    else this.#paused.delete(operation);
  }
}

function matches({ job }: Row, filter: ListFilter): boolean {
  return (
    job.owner === filter.owner &&
    job.goneAt === null &&
    (filter.belowRow === undefined || job.row < filter.belowRow) &&
    (filter.status === undefined || filter.status.includes(job.status)) &&
    (filter.operation === undefined || filter.operation.includes(job.operation)) &&
    (filter.createdFrom === undefined || job.createdAt >= filter.createdFrom) &&
    (filter.createdTo === undefined || job.createdAt < filter.createdTo)
  );
}
