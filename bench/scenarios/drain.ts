// Drain: how fast a backlog of empty jobs is settled, without a server in the way.
import { rm } from "node:fs/promises";
import { freshRedis, runInChild, takeTurns, using } from "../contestant.ts";
import { sqliteIn, storeOf } from "../ours.ts";
import { compare } from "../table.ts";
import type { Scenario } from "./scenario.ts";

const jobs = 50_000;

export const drain: Scenario = async (circumstance) => {
  const { withOurs, directory } = circumstance;
  const { bullmq, ours } = await takeTurns(
    {
      bullmq: () =>
        using(freshRedis(), async ({ url }) => ({
          perSecond: (await runInChild("./peers/bullmq.ts", "drain", url, "drain", jobs, 100)) as number,
        })),
      ours: withOurs
        ? async () => {
            const dataDir = await storeOf(jobs, directory);
            const perSecond = (await runInChild(
              "./ours.ts",
              "drainOurs",
              sqliteIn(dataDir),
              jobs,
              100,
            )) as number;
            await rm(dataDir, { recursive: true });
            return { perSecond };
          }
        : undefined,
    },
    circumstance,
  );
  return [
    compare({
      scenario: "drain",
      figure: "settled of 50,000 empty jobs queued",
      unit: "/s",
      ours: ours?.perSecond,
      peer: { name: "BullMQ, concurrency 100", samples: bullmq?.perSecond },
      aim: { ratioAtLeast: 3 },
    }),
  ];
};
