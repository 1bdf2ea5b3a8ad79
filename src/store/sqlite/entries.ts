// Events as they are kept and as they cross to the other thread: numbers, for there are three of them to a job.
//
// A commit's events are one text of numbers, six to an event. Who and what a job is lies in its own row, which outlives
// its events; only events that came before their jobs, from another store, bring their names along.

import type { Event, EventKind } from "../../core/event.ts";
import { STATUSES, type Status } from "../../core/job.ts";

/** By their numbers in the database: new ones come behind. */
const KINDS: readonly EventKind[] = [
  "queued",
  "started",
  "progress",
  "retrying",
  "cancel-requested",
  "completed",
  "failed",
  "canceled",
  "expired",
];

const kindNumbers = new Map<EventKind, number>(KINDS.map((kind, number) => [kind, number]));
const statusNumbers = new Map<Status, number>(STATUSES.map((status, number) => [status, number]));

/** Kind, time since the chunk's, row, status, attempt, revision. */
const NUMBERS = 6;

/** The events of one commit, as a row of the database holds them. */
export interface Chunk {
  readonly seq: number;
  readonly at: number;
  readonly entries: string;
  /** Flat: id, owner and operation of each event; null where the rows tell. */
  readonly names: string | null;
}

/** What an event says of its job that does not change. */
export interface Names {
  readonly id: string;
  readonly owner: string;
  readonly operation: string;
}

/** Writes the events of a commit, in order; `named` where their jobs' rows are not there. */
export function encodeChunk(events: readonly Event[], named: boolean): Chunk {
  const { seq, at } = events[0] as Event;
  let entries = "";
  for (const e of events) {
    entries += `${entries === "" ? "[" : ","}${kindNumbers.get(e.kind)},${e.at - at},${e.row},${statusNumbers.get(e.status)},${e.attempt},${e.revision}`;
  }
  const names = named
    ? JSON.stringify(events.flatMap(({ id, owner, operation }) => [id, owner, operation]))
    : null;
  return { seq, at, entries: `${entries}]`, names };
}

/** Reads the events of a chunk behind `after`, at most `limit`. */
export function decodeChunk(
  chunk: Chunk,
  after: number,
  limit: number,
  namesOf: (row: number) => Names,
): Event[] {
  const numbers = JSON.parse(chunk.entries) as number[];
  const names = chunk.names === null ? null : (JSON.parse(chunk.names) as string[]);
  const events: Event[] = [];
  for (let index = Math.max(0, after + 1 - chunk.seq); index * NUMBERS < numbers.length; index++) {
    if (events.length === limit) break;
    const from = index * NUMBERS;
    const row = numbers[from + 2] as number;
    const { id, owner, operation } = names === null ? namesOf(row) : namesAt(names, index);
    events.push({
      seq: chunk.seq + index,
      kind: KINDS[numbers[from] as number] as EventKind,
      at: chunk.at + (numbers[from + 1] as number),
      row,
      id,
      owner,
      operation,
      status: STATUSES[numbers[from + 3] as number] as Status,
      attempt: numbers[from + 4] as number,
      revision: numbers[from + 5] as number,
    });
  }
  return events;
}

function namesAt(names: readonly string[], index: number): Names {
  const from = index * 3;
  return {
    id: names[from] as string,
    owner: names[from + 1] as string,
    operation: names[from + 2] as string,
  };
}

/** Events on their way to the other thread. */
export interface FlatEvents {
  /** Nine to an event: those of a chunk, its sequence and its own time, and where its owner and operation are in `words`. */
  readonly numbers: Float64Array;
  readonly ids: readonly string[];
  readonly words: readonly string[];
}

const FLAT = 9;

export function flattenEvents(events: readonly Event[]): FlatEvents {
  const numbers = new Float64Array(events.length * FLAT);
  const ids: string[] = [];
  const words: string[] = [];
  const places = new Map<string, number>();
  const place = (word: string) => {
    let at = places.get(word);
    if (at === undefined) {
      at = words.push(word) - 1;
      places.set(word, at);
    }
    return at;
  };
  let at = 0;
  for (const event of events) {
    numbers[at] = event.seq;
    numbers[at + 1] = kindNumbers.get(event.kind) as number;
    numbers[at + 2] = event.at;
    numbers[at + 3] = event.row;
    numbers[at + 4] = place(event.owner);
    numbers[at + 5] = place(event.operation);
    numbers[at + 6] = statusNumbers.get(event.status) as number;
    numbers[at + 7] = event.attempt;
    numbers[at + 8] = event.revision;
    ids.push(event.id);
    at += FLAT;
  }
  return { numbers, ids, words };
}

export function unflattenEvents({ numbers, ids, words }: FlatEvents): Event[] {
  return ids.map((id, index) => {
    const at = index * FLAT;
    return {
      seq: numbers[at] as number,
      kind: KINDS[numbers[at + 1] as number] as EventKind,
      at: numbers[at + 2] as number,
      row: numbers[at + 3] as number,
      id,
      owner: words[numbers[at + 4] as number] as string,
      operation: words[numbers[at + 5] as number] as string,
      status: STATUSES[numbers[at + 6] as number] as Status,
      attempt: numbers[at + 7] as number,
      revision: numbers[at + 8] as number,
    };
  });
}
