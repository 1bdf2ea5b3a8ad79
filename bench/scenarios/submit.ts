// Submit: the whole path (validation, random key, quota, durable commit), against a server that does none of it, and
// against the usual hand-written one; on an empty store, and on one that holds a million jobs.
import {
  type Measurement,
  type RunningServer,
  startPeer,
  startPeerOnRedis,
  takeTurns,
  using,
} from "../contestant.ts";
import { putLoad } from "../load/load.ts";
import { startOurs, storeOf } from "../ours.ts";
import { compare } from "../table.ts";
import type { Scenario } from "./scenario.ts";

export const submit: Scenario = async (circumstance) => {
  const { seconds, withOurs, directory } = circumstance;
  const measureAt =
    (start: () => Promise<RunningServer>): Measurement =>
    () =>
      using(start(), async ({ url }) => {
        const load = { url: `${url}/operations/empty`, script: "submit", seconds, status: 202 } as const;
        return { ...(await putLoad(load)) };
      });
  const start = async (jobs: number) => startOurs({ work: false, dataDir: await storeOf(jobs, directory) });
  const { bare, handwritten, fastify, empty, million } = await takeTurns(
    {
      bare: measureAt(() => startPeer("bare")),
      empty: withOurs ? measureAt(() => start(0)) : undefined,
      handwritten: measureAt(() => startPeerOnRedis("handwritten")),
      million: withOurs ? measureAt(() => start(1_000_000)) : undefined,
      fastify: measureAt(() => startPeerOnRedis("fastify-bullmq", "accept")),
    },
    circumstance,
  );
  // BullMQ and Express gain more from Node 24 than node:http does.
  const ofHandwritten = Number(process.versions.node.split(".")[0]) >= 24 ? 3.5 : 5;
  const versusBare = { name: "bare node:http", samples: bare?.perSecond };
  const versusHandwritten = { name: "Express + BullMQ", samples: handwritten?.perSecond };
  const versusFastify = { name: "Fastify + queue.add", samples: fastify?.perSecond };
  const base = { scenario: "submit", unit: "/s" } as const;
  const tail = { scenario: "submit", unit: "ms", aim: { atMost: 10 } } as const;
  const figure = "accepted, empty store";
  return [
    compare({ ...base, figure, ours: empty?.perSecond, peer: versusBare, aim: { ratioAtLeast: 0.6 } }),
    compare({
      ...base,
      figure: "accepted, 1,000,000 jobs",
      ours: million?.perSecond,
      peer: versusBare,
      aim: { ratioAtLeast: 0.6 },
    }),
    compare({
      ...base,
      figure,
      ours: empty?.perSecond,
      peer: versusHandwritten,
      aim: { ratioAtLeast: ofHandwritten },
    }),
    compare({
      ...base,
      figure,
      ours: empty?.perSecond,
      peer: versusFastify,
      note: "the peer checks no key and no quota",
    }),
    compare({
      ...tail,
      figure: "p99, empty store",
      ours: empty?.p99Ms,
      peer: { name: "bare node:http", samples: bare?.p99Ms },
    }),
    compare({
      ...tail,
      figure: "p99, 1,000,000 jobs",
      ours: million?.p99Ms,
      peer: { name: "Express + BullMQ", samples: handwritten?.p99Ms },
      note: "the peer's store is empty",
    }),
  ];
};
