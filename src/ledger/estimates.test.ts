import { describe, expect, it, onTestFinished } from "vitest";
import { callerOf, openLedger } from "../../test/ledger.ts";
import { aJob } from "../../test/views.ts";
import { defineOperation } from "../core/operation.ts";
import { openMemory } from "../store/memory.ts";
import { createEstimates } from "./estimates.ts";

const NOW = 100_000;

function open() {
  const estimates = createEstimates(
    openMemory(),
    () => NOW,
    (error) => expect.unreachable(String(error)),
  );
  onTestFinished(() => estimates.close());
  return estimates;
}

describe("the estimate of a running job", () => {
  const running = { status: "processing", attempt: 1, startedAt: NOW - 10_000, updatedAt: NOW } as const;
  const view = (fields: object) =>
    open().view({ job: aJob({ ...running, progress: 5, ...fields }), position: null, waitingFor: null });

  it("goes by its progress", () => {
    const { completionAt, retryAfterSeconds } = view({});
    expect(completionAt).toBeGreaterThan(NOW + 60_000);
    expect(retryAfterSeconds).toBeGreaterThan(10);
  });

  it("goes by its grace once it was asked to stop, and who asked need not be patient", () => {
    expect(view({ cancelRequestedAt: NOW - 2_000 })).toMatchObject({
      completionAt: NOW + 8_000,
      retryAfterSeconds: 1,
    });
    // The grace is over, and whoever ends it is a moment late.
    expect(view({ cancelRequestedAt: NOW - 20_000 })).toMatchObject({ completionAt: NOW });
  });

  it("goes by when its progress was reported, and not by when its lease was renewed since", async () => {
    const RENDER = defineOperation({ name: "render" });
    const opened = await openLedger({ operations: [RENDER] });
    onTestFinished(() => opened.end());
    const ada = callerOf("ada");
    const { id } = await opened.accept(ada, RENDER);
    const [job] = (await opened.claim(RENDER)).jobs;
    const startedAt = opened.now();
    const ref = { row: job?.row as number, attempt: 1 };
    opened.clock.pass(10_000);
    await opened.attempts.heartbeat(ref, { progress: 50 });
    for (let beat = 0; beat < 5; beat++) {
      opened.clock.pass(1_000);
      await opened.attempts.heartbeat(ref, {});
    }
    // Half of it took ten seconds.
    expect((await opened.jobs.get(ada, id))?.completionAt).toBe(startedAt + 20_000);
  });
});
