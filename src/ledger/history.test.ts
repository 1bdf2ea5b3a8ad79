import { describe, expect, test } from "vitest";
import type { Event } from "../core/event.ts";
import type { Listener, Query, Store } from "../store/store.ts";
import { createHistory } from "./history.ts";

/** A feed of which the events up to `forgotten` are gone. */
function open(seqs: number, { forgotten = 0, most = 100 } = {}) {
  const make = (seq: number, id = `job-${seq % 7}`, kind = seq <= 7 ? "queued" : "progress") =>
    ({ seq, kind, id, owner: `owner-${seq % 2}` }) as Event;
  const events = Array.from({ length: seqs }, (_, at) => make(at + 1)).slice(forgotten);
  const listeners = new Set<Listener>();
  const reads: number[] = [];
  const store = {
    async read({ after, limit }: Extract<Query, { get: "events" }>) {
      reads.push(after);
      return events.filter(({ seq }) => seq > after).slice(0, limit);
    },
    listen(listener: Listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  } as unknown as Store;
  const append = (id?: string, kind?: string) => {
    const event = make((events.at(-1)?.seq ?? 0) + 1, id, kind);
    events.push(event);
    for (const listener of listeners) listener([event]);
    return event.seq;
  };
  return { history: createHistory(store, most), append, reads };
}

const seqs = (events: readonly Event[] | null) => events?.map(({ seq }) => seq);

describe("the recent past", () => {
  test("has every event of a job after the one that its follower saw last", async () => {
    const { history, append } = open(30);
    expect(seqs(await history.after(10, { id: "job-3" }))).toEqual([17, 24]);
    const next = append("job-3");
    expect(seqs(await history.after(10, { id: "job-3" }))).toEqual([17, 24, next]);
    expect(seqs(await history.after(next, { id: "job-3" }))).toEqual([]);
    expect(await history.last()).toBe(next);
  });

  test("has every event of an owner's jobs", async () => {
    const { history } = open(10);
    expect(seqs(await history.after(4, { owner: "owner-0" }))).toEqual([6, 8, 10]);
  });

  test("says so where events that are asked for may be forgotten", async () => {
    const { history, append } = open(500);
    expect(await history.after(300, { owner: "owner-0" })).toBeNull();
    expect(await history.after(399, { id: "job-1" })).toBeNull();
    expect(await history.after(400, { owner: "owner-0" })).toHaveLength(50);
    append();
    expect(await history.after(400, { owner: "owner-0" })).toBeNull();
  });

  test("finds its end in a feed whose first events are forgotten", async () => {
    const { history, reads } = open(5000, { forgotten: 4321 });
    expect(await history.last()).toBe(5000);
    expect(reads.length).toBeLessThan(60);
  });

  test("knows all of a job whose first event it has, whatever was before", async () => {
    const { history, append } = open(500);
    await history.last();
    const id = "new";
    const first = append(id, "queued");
    expect(seqs(await history.after(0, { id }))).toEqual([first]);
    const old = append("old", "progress");
    expect(await history.after(0, { id: "old" })).toBeNull();
    expect(seqs(await history.after(old - 1, { id: "old" }))).toEqual([old]);
  });

  test("misses nothing that happens while it is being read", async () => {
    const { history, append } = open(50);
    const asked = history.after(0, { id: "job-1" });
    const during = append("job-1");
    expect(seqs(await asked)?.at(-1)).toBe(during);
  });

  test("is empty where nothing ever happened", async () => {
    const { history } = open(0);
    expect(await history.last()).toBe(0);
    expect(await history.after(0, { id: "job-1" })).toEqual([]);
  });
});
