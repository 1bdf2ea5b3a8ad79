// Latency: from the submit of an empty operation to its result, one at a time, by one caller over HTTP.
import { type Measurement, type RunningServer, startPeerOnRedis, takeTurns, using } from "../contestant.ts";
import { Caller, percentile, timeEach } from "../load/jobs.ts";
import { startOurs, storeOf } from "../ours.ts";
import { compare } from "../table.ts";
import type { Scenario } from "./scenario.ts";

export const latency: Scenario = async (circumstance) => {
  const { seconds, withOurs, directory } = circumstance;
  const measureAt =
    (start: () => Promise<RunningServer>, follow: (caller: Caller) => Promise<void>): Measurement =>
    () =>
      using(start(), async ({ url }) => {
        const caller = new Caller(url);
        const times = await timeEach(() => follow(caller), { warmUp: 300, seconds });
        caller.close();
        return { p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99) };
      });
  const startBullmq = (mode: string) => () => startPeerOnRedis("fastify-bullmq", mode);
  const startUs = async () => startOurs({ work: true, dataDir: await storeOf(0, directory) });
  const { ours, polled, evented } = await takeTurns(
    {
      polled: measureAt(startBullmq("work"), byPolling),
      ours: withOurs ? measureAt(startUs, byWaiting) : undefined,
      evented: measureAt(startBullmq("follow"), byWaiting),
    },
    circumstance,
  );
  const base = { scenario: "latency", unit: "ms" } as const;
  const byPoll = "BullMQ, polled each 2 ms";
  const byEvent = "BullMQ, waitUntilFinished";
  return [
    compare({
      ...base,
      figure: "submit → result, p50",
      ours: ours?.p50Ms,
      peer: { name: byPoll, samples: polled?.p50Ms },
      aim: { atMost: 1.5 },
      note: "ours by Prefer: wait; the peers behind Fastify",
    }),
    compare({
      ...base,
      figure: "submit → result, p50",
      ours: ours?.p50Ms,
      peer: { name: byEvent, samples: evented?.p50Ms },
    }),
    compare({
      ...base,
      figure: "submit → result, p99",
      ours: ours?.p99Ms,
      peer: { name: byPoll, samples: polled?.p99Ms },
      aim: { atMost: 5 },
    }),
    compare({
      ...base,
      figure: "submit → result, p99",
      ours: ours?.p99Ms,
      peer: { name: byEvent, samples: evented?.p99Ms },
    }),
  ];
};

/** One request that is answered with the result. */
async function byWaiting(caller: Caller): Promise<void> {
  const { status, body } = await caller.submit({ Prefer: "wait=10" });
  if (status !== 200) throw new Error(`A submit that waits was answered ${status} instead of 200: ${body}`);
}

/** As most callers do: submit, and then ask until it is done. */
async function byPolling(caller: Caller): Promise<void> {
  const [monitor] = await caller.submitMany(1);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    const { body } = await caller.get(monitor!);
    if ((JSON.parse(body) as { readonly status: string }).status === "completed") return;
  }
}
