import { describe, expect, test, vi } from "vitest";
import { StoreUnavailable } from "../store.ts";
import { Lane } from "./lane.ts";

/** A lane whose batches end when told to. */
function open(most = 1) {
  const batches: { asked: readonly number[]; end: (error?: Error) => void }[] = [];
  const lane = new Lane<number, number>(
    (asked) =>
      new Promise((resolve, reject) => {
        batches.push({
          asked,
          end: (error) => (error === undefined ? resolve(asked.map((n) => n * 10)) : reject(error)),
        });
      }),
    most,
  );
  return { lane, batches };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("a lane", () => {
  test("what is asked for while a batch is under way is the next batch", async () => {
    const { lane, batches } = open();
    const first = lane.ask(1);
    await turn();
    const rest = Promise.all([lane.ask(2), lane.ask(3)]);
    await turn();
    expect(batches.map(({ asked }) => asked)).toEqual([[1]]);
    batches[0]?.end();
    expect(await first).toBe(10);
    await vi.waitFor(() => expect(batches).toHaveLength(2));
    batches[1]?.end();
    expect(await rest).toEqual([20, 30]);
    expect(batches.map(({ asked }) => asked)).toEqual([[1], [2, 3]]);
  });

  test("has as many batches under way as it may", async () => {
    const { lane, batches } = open(2);
    const asked: Promise<number>[] = [];
    for (const n of [1, 2, 3]) {
      asked.push(lane.ask(n));
      await turn();
    }
    expect(batches).toHaveLength(2);
    for (const { end } of batches) end();
    await Promise.all(asked.slice(0, 2));
    await vi.waitFor(() => expect(batches[2]?.asked).toEqual([3]));
    batches[2]?.end();
    expect(await Promise.all(asked)).toEqual([10, 20, 30]);
  });

  test("one that can't be digested does not take its neighbours with it", async () => {
    const lane = new Lane<number, number>(async (asked) => {
      if (asked.includes(2)) throw new TypeError("two");
      return asked.map((n) => n * 10);
    });
    const all = await Promise.allSettled([1, 2, 3].map((n) => lane.ask(n)));
    expect(all.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  });

  test("a store that is unavailable is asked no more than once", async () => {
    const { lane, batches } = open();
    const all = Promise.allSettled([lane.ask(1), lane.ask(2)]);
    await turn();
    batches[0]?.end(new StoreUnavailable("down"));
    expect((await all).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(batches).toHaveLength(1);
  });

  test("is idle once nothing waits and nothing is under way", async () => {
    const { lane, batches } = open();
    const asked = lane.ask(1);
    let isIdle = false;
    const idle = lane.idle().then(() => (isIdle = true));
    await turn();
    expect(isIdle).toBe(false);
    batches[0]?.end();
    await asked;
    await idle;
  });

  test("an error in an answer's place is that one's alone, and nothing is asked again", async () => {
    const batches: (readonly number[])[] = [];
    const lane = new Lane<number, number>(async (asked) => {
      batches.push(asked);
      return asked.map((n) => (n === 2 ? new Error("two") : n * 10));
    });
    const asked = await Promise.allSettled([lane.ask(1), lane.ask(2), lane.ask(3)]);
    expect(asked).toMatchObject([{ value: 10 }, { reason: { message: "two" } }, { value: 30 }]);
    expect(batches).toEqual([[1, 2, 3]]);
  });

  test("refuses at once when too many wait", async () => {
    const { lane } = open();
    for (let n = 0; n < 65_536; n++) lane.ask(n).catch(() => {});
    await expect(lane.ask(1)).rejects.toThrow(StoreUnavailable);
  });
});
