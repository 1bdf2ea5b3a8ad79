// Sustained: a server that accepts and completes empty jobs at once, all in one process.
import { startPeerOnRedis, takeTurns, using } from "../contestant.ts";
import { Caller } from "../load/jobs.ts";
import { measure, warmUp } from "../load/load.ts";
import { startOurs, storeOf } from "../ours.ts";
import { compare } from "../table.ts";
import type { Scenario } from "./scenario.ts";

export const sustained: Scenario = async (circumstance) => {
  const { seconds, withOurs, directory } = circumstance;
  const measureAt = async (url: string, countCompleted: () => Promise<number>) => {
    const load = { url: `${url}/operations/empty`, script: "submit", seconds, status: 202 } as const;
    await warmUp(load);
    const [before, begin] = [await countCompleted(), performance.now()];
    const { perSecond } = await measure(load);
    const [after, end] = [await countCompleted(), performance.now()];
    return { completed: ((after - before) * 1_000) / (end - begin), accepted: perSecond };
  };
  const { bullmq, ours } = await takeTurns(
    {
      bullmq: () =>
        using(startPeerOnRedis("fastify-bullmq", "work"), ({ url }) =>
          measureAt(url, async () => {
            const caller = new Caller(url);
            const { body } = await caller.get("/completed");
            caller.close();
            return (JSON.parse(body) as { readonly completed: number }).completed;
          }),
        ),
      ours: withOurs
        ? async () =>
            using(startOurs({ work: true, dataDir: await storeOf(0, directory) }), (server) =>
              measureAt(server.url, () => server.completed()),
            )
        : undefined,
    },
    circumstance,
  );
  const name = "Fastify + BullMQ, concurrency 100";
  const base = { scenario: "sustained", unit: "/s" } as const;
  return [
    compare({
      ...base,
      figure: "completed while accepting",
      ours: ours?.completed,
      peer: { name, samples: bullmq?.completed },
      aim: { ratioAtLeast: 2 },
    }),
    compare({
      ...base,
      figure: "accepted meanwhile",
      ours: ours?.accepted,
      peer: { name, samples: bullmq?.accepted },
      note: "what is accepted beyond what is completed waits",
    }),
  ];
};
