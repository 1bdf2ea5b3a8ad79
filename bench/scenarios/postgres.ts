// PostgreSQL: the store against the two queues that most use there, each as it is fastest, on the same kind of server.
import { rm } from "node:fs/promises";
import {
  freshPostgres,
  type Measurement,
  runInChild,
  startOn,
  startPeer,
  takeTurns,
  using,
} from "../contestant.ts";
import { putLoad } from "../load/load.ts";
import { startOurs, storeOf } from "../ours.ts";
import { compare } from "../table.ts";
import type { Scenario } from "./scenario.ts";

const jobs = 100_000;
const finished = 1_000_000;

export const postgres: Scenario = async (circumstance) => {
  const { seconds, withOurs, directory } = circumstance;
  const drain =
    (module: string, name: string, ...values: readonly unknown[]): Measurement =>
    () =>
      using(freshPostgres(), async ({ url }) => {
        if (module === "./ours.ts") await runInChild(module, "fillStore", url, jobs);
        return { perSecond: (await runInChild(module, name, url, jobs, ...values)) as number };
      });
  const submitTo = ({ url }: { readonly url: string }) =>
    putLoad({ url: `${url}/operations/empty`, script: "submit", seconds, status: 202 });
  const peerSubmit = (queue: string) => async () => ({
    ...(await using(
      startOn(freshPostgres(), (url) => startPeer("fastify-postgres", url, queue)),
      submitTo,
    )),
  });
  const claims =
    (kept: number): Measurement =>
    () =>
      using(freshPostgres(), async ({ url }) => {
        if (kept > 0) await runInChild("./ours.ts", "fillFinished", url, kept);
        await runInChild("./ours.ts", "fillStore", url, 200_000);
        return { perSecond: (await runInChild("./ours.ts", "claimOurs", url, 1_000)) as number };
      });
  const samples = await takeTurns(
    {
      "graphile-worker": drain("./peers/graphile-worker.ts", "drain"),
      ours: withOurs ? drain("./ours.ts", "drainOurs", 2_000) : undefined,
      "pg-boss": drain("./peers/pg-boss.ts", "drain", 2_500),
      "Fastify + pg-boss send": peerSubmit("pg-boss"),
      oursSubmit: withOurs
        ? async () => {
            const dataDir = await storeOf(0, directory);
            const start = (store: string) => startOurs({ work: false, dataDir, store });
            const report = await using(startOn(freshPostgres(), start), submitTo);
            await rm(dataDir, { recursive: true });
            return { ...report };
          }
        : undefined,
      "Fastify + add_job": peerSubmit("graphile-worker"),
      oursEmpty: withOurs ? claims(0) : undefined,
      oursGrown: withOurs ? claims(finished) : undefined,
    },
    circumstance,
  );
  const peer = (name: keyof typeof samples) => ({ name, samples: samples[name]?.perSecond });
  const base = { scenario: "postgres", unit: "/s" } as const;
  const drained = { ...base, figure: "settled of 100,000 empty jobs queued", ours: samples.ours?.perSecond };
  const accepted = { ...base, figure: "accepted", ours: samples.oursSubmit?.perSecond };
  const note = "the peer checks no key and no quota";
  return [
    compare({
      ...drained,
      peer: peer("graphile-worker"),
      aim: { ratioAtLeast: 1 },
      note: "2,000 at once; the peer with a local queue of 2,000 and batched completion, without a fence",
    }),
    compare({
      ...drained,
      peer: peer("pg-boss"),
      aim: { ratioAtLeast: 1 },
      note: "the peer in batches of 2,500, without a fence",
    }),
    compare({ ...accepted, peer: peer("Fastify + pg-boss send"), aim: { ratioAtLeast: 5 }, note }),
    compare({ ...accepted, peer: peer("Fastify + add_job"), aim: { ratioAtLeast: 5 }, note }),
    compare({
      ...base,
      figure: "claimed, with 1,000,000 finished jobs kept",
      ours: samples.oursGrown?.perSecond,
      peer: { name: "ours, empty", samples: samples.oursEmpty?.perSecond },
      aim: { ratioAtLeast: 0.85 },
    }),
  ];
};
