import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import type { Event } from "../../core/event.ts";
import { Feed } from "./feed.ts";

function events(from: number, to: number): Event[] {
  return Array.from({ length: to - from + 1 }, (_, at) => ({
    ...{ seq: from + at, kind: "queued", at: 0, row: 1, id: "a", owner: "o", operation: "p" },
    ...{ status: "queued", attempt: 0, revision: 1 },
  })) as Event[];
}

/** A feed of which `others` committed so much, read by one process. */
function follow(seen = 0) {
  const told: number[] = [];
  const source = { committed: [] as Event[], reads: 0, isWriting: false };
  const feed = new Feed(
    {
      async read(after, limit) {
        source.reads++;
        return source.committed.filter(({ seq }) => seq > after).slice(0, limit);
      },
      isWriting: () => source.isWriting,
    },
    seen,
    (some) => told.push(...some.map(({ seq }) => seq)),
  );
  return { feed, told, source };
}

const upTo = (last: number) => Array.from({ length: last }, (_, at) => at + 1);

describe("the feed of one process", () => {
  test("tells what the process committed without reading it", () => {
    const { feed, told, source } = follow();
    feed.committed(events(1, 3));
    feed.committed(events(4, 4));
    expect(told).toEqual([1, 2, 3, 4]);
    expect(source.reads).toBe(0);
  });

  test("waits for the other batch of the process where their answers come in the wrong order", async () => {
    const { feed, told, source } = follow();
    source.isWriting = true;
    feed.committed(events(3, 5));
    expect(told).toEqual([]);
    feed.committed(events(1, 2));
    expect(told).toEqual([1, 2, 3, 4, 5]);
    await sleep(10);
    expect(source.reads).toBeLessThanOrEqual(1);
    expect(told).toEqual([1, 2, 3, 4, 5]);
  });

  test("reads what others committed in between, and tells each event once and in order", async () => {
    const { feed, told, source } = follow();
    source.committed = events(1, 9);
    feed.committed(events(1, 2));
    feed.committed(events(6, 7));
    feed.hear(9);
    await vi.waitFor(() => expect(told).toEqual(upTo(9)));
    feed.committed(events(8, 8));
    expect(told).toEqual(upTo(9));
  });

  test("reads page by page to the end", async () => {
    const { feed, told, source } = follow();
    source.committed = events(1, 2500);
    feed.hear();
    await vi.waitFor(() => expect(told).toEqual(upTo(2500)));
  });

  test("a word that comes while a page is being read is not lost", async () => {
    const { feed, told, source } = follow();
    source.committed = events(1, 1);
    feed.hear(1);
    source.committed = events(1, 2);
    feed.hear(2);
    await vi.waitFor(() => expect(told).toEqual([1, 2]));
  });

  test("begins behind what it has seen, and tells nothing once it is closed", async () => {
    const { feed, told, source } = follow(5);
    source.committed = events(1, 6);
    feed.hear(6);
    await vi.waitFor(() => expect(told).toEqual([6]));
    feed.close();
    feed.committed(events(7, 7));
    expect(told).toEqual([6]);
  });
});
