import { describe, expect, test } from "vitest";
import type { Event } from "../../core/event.ts";
import type { Job } from "../../core/job.ts";
import type { ClaimWrite, Written } from "../store.ts";
import { StoreUnavailable } from "../store.ts";
import { Standing } from "./standing.ts";

type Claimed = Extract<Written, { did: "claim" }>;

const NOTHING: Claimed = { did: "claim", jobs: [], drain: false, nextAt: null };
const WORK: Claimed = { ...NOTHING, jobs: [{} as Job] };

function open() {
  const tries: { claim: ClaimWrite; answer: (claimed: Claimed) => void; fail: (error: Error) => void }[] = [];
  const time = { now: 0 };
  const standing = new Standing(
    (claim) => new Promise((answer, fail) => tries.push({ claim, answer, fail })),
    () => time.now,
  );
  return { standing, tries, time };
}

const claim = (more: Partial<ClaimWrite> = {}): ClaimWrite => ({
  ...{ do: "claim", worker: "w", slots: { render: 1 }, limit: 1, running: 0, held: false, waitMs: 1000 },
  ...more,
});

const queued = (operation: string) => [{ kind: "queued", operation } as Event];
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("a claim that waits", () => {
  test("is tried again when work of its operation is heard of, and not for that of another", async () => {
    const { standing, tries } = open();
    const claimed = standing.claim(claim());
    tries[0]?.answer(NOTHING);
    await turn();
    standing.hear(queued("other"));
    expect(tries).toHaveLength(1);
    standing.hear(queued("render"));
    tries[1]?.answer(WORK);
    expect(await claimed).toBe(WORK);
  });

  test("does not miss what is heard while it is being tried", async () => {
    const { standing, tries } = open();
    const claimed = standing.claim(claim());
    standing.hear(queued("render"));
    tries[0]?.answer(NOTHING);
    await turn();
    tries[1]?.answer(WORK);
    expect(await claimed).toBe(WORK);
  });

  test("is tried when the job that it was told of comes due", async () => {
    const { standing, tries, time } = open();
    const claimed = standing.claim(claim());
    tries[0]?.answer({ ...NOTHING, nextAt: 300 });
    await turn();
    time.now = 299;
    standing.look();
    expect(tries).toHaveLength(1);
    time.now = 300;
    standing.look();
    tries[1]?.answer(WORK);
    expect(await claimed).toBe(WORK);
  });

  test("ends with nothing when its time is up or it is withdrawn", async () => {
    const { standing, tries, time } = open();
    const late = standing.claim(claim());
    const withdrawn = standing.claim(claim({ worker: "v" }));
    for (const one of tries) one.answer(NOTHING);
    await turn();
    standing.withdraw("v");
    expect(await withdrawn).toEqual(NOTHING);
    time.now = 1000;
    standing.look();
    expect(await late).toEqual(NOTHING);
  });

  test("that is withdrawn or closed while it is being tried brings what it took", async () => {
    const { standing, tries } = open();
    const withdrawn = standing.claim(claim());
    const closed = standing.claim(claim({ worker: "v" }));
    standing.withdraw("w");
    standing.close();
    tries[0]?.answer(WORK);
    tries[1]?.fail(new StoreUnavailable("closed"));
    expect(await withdrawn).toBe(WORK);
    expect(await closed).toEqual(NOTHING);
  });

  test("says so when the store can't be asked", async () => {
    const { standing, tries } = open();
    const claimed = standing.claim(claim());
    tries[0]?.fail(new StoreUnavailable("down"));
    await expect(claimed).rejects.toThrow("down");
  });

  test("that wants no waiting is answered at once", async () => {
    const { standing, tries } = open();
    const claimed = standing.claim(claim({ waitMs: 0 }));
    tries[0]?.answer(NOTHING);
    expect(await claimed).toEqual(NOTHING);
  });
});
