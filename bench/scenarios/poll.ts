// Poll: GET of the status documents of live jobs, against a server that has one document at hand.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Measurement,
  type RunningServer,
  startPeer,
  startPeerOnRedis,
  takeTurns,
  using,
} from "../contestant.ts";
import { Caller } from "../load/jobs.ts";
import { putLoad } from "../load/load.ts";
import { startOurs, storeOf } from "../ours.ts";
import { compare } from "../table.ts";
import type { Scenario } from "./scenario.ts";

export const poll: Scenario = async (circumstance) => {
  const { seconds, withOurs, directory } = circumstance;
  const measureAt =
    (start: () => Promise<RunningServer>): Measurement =>
    () =>
      using(start(), async ({ url }) => {
        const caller = new Caller(url);
        const live = await caller.submitMany(1_000);
        caller.close();
        const paths = join(directory, "paths");
        await writeFile(paths, `${live.join("\n")}\n`);
        return { ...(await putLoad({ url, script: "poll", seconds, status: 200, paths })) };
      });
  const { bare, handwritten, ours } = await takeTurns(
    {
      bare: measureAt(() => startPeer("bare")),
      ours: withOurs
        ? measureAt(async () => startOurs({ work: false, dataDir: await storeOf(0, directory) }))
        : undefined,
      handwritten: measureAt(() => startPeerOnRedis("handwritten")),
    },
    circumstance,
  );
  const base = { scenario: "poll", unit: "/s", figure: "status documents of 1,000 live jobs" } as const;
  return [
    compare({
      ...base,
      ours: ours?.perSecond,
      peer: { name: "bare node:http", samples: bare?.perSecond },
      aim: { ratioAtLeast: 0.5 },
      note: "the peer sends one document that it has encoded",
    }),
    compare({
      ...base,
      ours: ours?.perSecond,
      peer: { name: "Express + Redis GET", samples: handwritten?.perSecond },
    }),
    compare({
      ...base,
      figure: "p99",
      unit: "ms",
      ours: ours?.p99Ms,
      peer: { name: "bare node:http", samples: bare?.p99Ms },
    }),
  ];
};
