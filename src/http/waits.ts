// `Prefer: wait`: callers that hold a connection until a job settles, bounded in time and in number.

import type { ServerResponse } from "node:http";
import type { Caller, Jobs, View } from "../core/jobs.ts";
import type { HttpLimits } from "./limits.ts";

export interface Waits {
  /**
   * The job once it settles, or as it stands when the time is up, the caller hangs up or the server stops. Null at once
   * where too many wait already.
   */
  wait(
    caller: Caller,
    id: string,
    seconds: number | "default",
    response: ServerResponse,
  ): Promise<View | null> | null;
  /**
   * Ends all waits, now and from now on: each is answered with the job as it stands. Resolves once that is said, as the
   * host may cut its connections next.
   */
  close(): Promise<void>;
}

export function createWaits(jobs: Jobs, limits: HttpLimits): Waits {
  const waiting = new Map<AbortController, ServerResponse>();
  const perOwner = new Map<string, number>();
  let closed = false;

  const wait = async (caller: Caller, id: string, waitMs: number, response: ServerResponse) => {
    const controller = new AbortController();
    const hangUp = () => controller.abort();
    waiting.set(controller, response);
    perOwner.set(caller.owner, (perOwner.get(caller.owner) ?? 0) + 1);
    response.once("close", hangUp);
    try {
      return await jobs.wait(caller, id, waitMs, controller.signal);
    } finally {
      response.removeListener("close", hangUp);
      waiting.delete(controller);
      const left = (perOwner.get(caller.owner) ?? 1) - 1;
      if (left === 0) perOwner.delete(caller.owner);
      else perOwner.set(caller.owner, left);
    }
  };

  return {
    wait(caller, id, seconds, response) {
      const waitMs = Math.min(limits.longestWaitMs, seconds === "default" ? limits.waitMs : seconds * 1000);
      if (closed || waiting.size >= limits.waits) return null;
      if ((perOwner.get(caller.owner) ?? 0) >= limits.waitsPerOwner) return null;
      return wait(caller, id, waitMs, response);
    },
    async close() {
      closed = true;
      const answers = [...waiting].map(([controller, response]) => {
        controller.abort();
        return new Promise((resolve) => response.once("finish", resolve).once("close", resolve));
      });
      await Promise.all(answers);
    },
  };
}
