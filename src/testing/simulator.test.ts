import { randomInt } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { Clock } from "../store/clock.ts";
import { openMemory } from "../store/memory.ts";
import type { Query, Store, Write } from "../store/store.ts";
import { simulate } from "./simulator.ts";

const open = (clock: Clock) => openMemory({ clock });

/** A memory store that does one thing wrong. */
function breaking(write: (write: Write, store: Store) => Promise<unknown>) {
  return (clock: Clock): Store => {
    const store = openMemory({ clock });
    return { ...store, write: ((asked: Write) => write(asked, store)) as Store["write"] };
  };
}

describe("a house of callers, workers, clocks and a store", () => {
  for (const seed of [1, 202, 65_537, randomInt(2 ** 31)]) {
    it(`keeps every promise for 1,000 hours (seed ${seed})`, async () => {
      const run = await simulate({ seed, hours: 1000, open });
      expect(run.hours).toBeGreaterThanOrEqual(1000);
      expect(run.completed + run.failed + run.canceled).toBe(run.jobs);
      // It has tested what it is for.
      for (const count of [
        "repeats",
        "refused",
        "crashes",
        "freezes",
        "late",
        "expired",
        "canceled",
      ] as const)
        expect([count, run[count] > 100]).toEqual([count, true]);
      expect(run.clockSteps).toBeGreaterThan(10);
    }, 120_000);
  }

  it("lives the same life again for the same seed, and another one for another", async () => {
    const [first, again, other] = [
      await simulate({ seed: 7, hours: 100, open }),
      await simulate({ seed: 7, hours: 100, open }),
      await simulate({ seed: 8, hours: 100, open }),
    ];
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
  });
});

describe("the simulator finds a store that", () => {
  const controls: readonly [title: string, says: RegExp, open: (clock: Clock) => Store][] = [
    [
      "settles without the attempt's check",
      /^Seed 5, after [\d.]+ simulated hours: C2: attempt \d+ of row \d+ is over/,
      breaking(async (write, store) => {
        if (write.do !== "settle") return store.write(write);
        const [sight] = await store.read({ get: "rows", rows: [write.row] });
        return store.write({ ...write, attempt: sight?.job.attempt ?? 0 });
      }),
    ],
    [
      "forgets keys",
      /B1: the repeat of row \d+ was answered|B3: the same key/,
      breaking((write, store) =>
        store.write(write.do === "submit" ? { ...write, sameness: null, idFingerprint: null } : write),
      ),
    ],
    [
      "gives up leases that are held",
      /C5: row \d+ was rescued while its worker holds it|its (?:status|crashes|leaseUntil) is/,
      breaking((write, store) => {
        if (write.do !== "submit") return store.write(write);
        const { submission } = write;
        return store.write({
          ...write,
          submission: {
            ...submission,
            policy: { ...submission.policy, leaseMs: submission.policy.leaseMs / 8 },
          },
        });
      }),
    ],
    [
      "keeps outcomes too short",
      /A1/,
      breaking((write, store) => {
        if (write.do !== "submit") return store.write(write);
        const { submission } = write;
        return store.write({
          ...write,
          submission: { ...submission, policy: { ...submission.policy, retentionMs: 1000 } },
        });
      }),
    ],
    [
      "gives a row to two jobs",
      /A new job got row 1, which is another/,
      breaking(async (write, store) => {
        const written = await store.write(write);
        if (write.do !== "submit" || !("did" in written) || written.did !== "submit") return written;
        return written.job.row % 50 === 0 ? { ...written, job: { ...written.job, row: 1 } } : written;
      }),
    ],
  ];

  for (const [title, says, broken] of controls) {
    it(`${title}`, async () => {
      await expect(simulate({ seed: 5, hours: 1000, open: broken })).rejects.toThrow(says);
    });
  }

  it("tells the feed wrongly", async () => {
    const broken = (clock: Clock): Store => {
      const store = openMemory({ clock });
      const read = async (query: Query) => {
        const answer = await store.read(query);
        // Every hundredth event comes under the number of the one before.
        if (query.get !== "events") return answer;
        const events = answer as readonly { seq: number }[];
        return events.map((event) => (event.seq % 100 === 0 ? { ...event, seq: event.seq - 1 } : event));
      };
      return { ...store, read: read as Store["read"] };
    };
    await expect(simulate({ seed: 5, hours: 1000, open: broken })).rejects.toThrow(
      /The feed goes on with 99 after 99/,
    );
  });
});
