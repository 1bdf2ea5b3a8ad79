import { describe, expect, it, onTestFinished } from "vitest";
import { aJob } from "../../test/views.ts";
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
});
