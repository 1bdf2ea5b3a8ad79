// Redis: the store against BullMQ on the same server with the same settings, and on one that keeps nothing on disk, which
// is how BullMQ is mostly measured.
import { rm } from "node:fs/promises";
import {
  freshRedis,
  type Measurement,
  runInChild,
  startOn,
  startPeer,
  takeTurns,
  using,
} from "../contestant.ts";
import { putLoad } from "../load/load.ts";
import { startOurs, storeOf } from "../ours.ts";
import { compare, median } from "../table.ts";
import type { Scenario } from "./scenario.ts";

const jobs = 50_000;
const concurrencies = [100, 1_000] as const;

export const redis: Scenario = async (circumstance) => {
  const { seconds, withOurs, directory } = circumstance;
  const bullmqDrain =
    (appendonly: boolean, concurrency: number): Measurement =>
    () =>
      using(freshRedis({ appendonly }), async ({ url }) => ({
        perSecond: (await runInChild(
          "./peers/bullmq.ts",
          "drain",
          url,
          "drain",
          jobs,
          concurrency,
        )) as number,
      }));
  const submitTo = ({ url }: { readonly url: string }) =>
    putLoad({ url: `${url}/operations/empty`, script: "submit", seconds, status: 202 });
  const bullmqSubmit = (appendonly: boolean) => async () => ({
    ...(await using(
      startOn(freshRedis({ appendonly }), (url) => startPeer("fastify-bullmq", url, "bench", "accept")),
      submitTo,
    )),
  });
  const samples = await takeTurns(
    {
      ours: withOurs
        ? () =>
            using(freshRedis({ appendonly: true }), async ({ url }) => {
              await runInChild("./ours.ts", "fillStore", url, jobs);
              return { perSecond: (await runInChild("./ours.ts", "drainOurs", url, jobs, 1_000)) as number };
            })
        : undefined,
      "BullMQ, concurrency 100": bullmqDrain(true, concurrencies[0]),
      "BullMQ, concurrency 1000": bullmqDrain(true, concurrencies[1]),
      "BullMQ, nothing on disk": bullmqDrain(false, concurrencies[0]),
      oursSubmit: withOurs
        ? async () => {
            const dataDir = await storeOf(0, directory);
            const start = (store: string) => startOurs({ work: false, dataDir, store });
            const report = await using(startOn(freshRedis({ appendonly: true }), start), submitTo);
            await rm(dataDir, { recursive: true });
            return { ...report };
          }
        : undefined,
      "Fastify + queue.add": bullmqSubmit(true),
      "Fastify + queue.add, nothing on disk": bullmqSubmit(false),
    },
    circumstance,
  );
  const best = (["BullMQ, concurrency 100", "BullMQ, concurrency 1000"] as const).reduce((one, other) =>
    median(samples[one]?.perSecond ?? [0]) >= median(samples[other]?.perSecond ?? [0]) ? one : other,
  );
  const peer = (name: keyof typeof samples) => ({ name, samples: samples[name]?.perSecond });
  const base = { scenario: "redis", unit: "/s" } as const;
  const drained = { ...base, figure: "settled of 50,000 empty jobs queued", ours: samples.ours?.perSecond };
  const accepted = { ...base, figure: "accepted", ours: samples.oursSubmit?.perSecond };
  return [
    compare({
      ...drained,
      peer: peer(best),
      aim: { ratioAtLeast: 1.5 },
      note: "both with appendfsync always",
    }),
    compare({ ...drained, peer: peer("BullMQ, nothing on disk"), note: "ours with appendfsync always" }),
    compare({
      ...accepted,
      peer: peer("Fastify + queue.add"),
      aim: { ratioAtLeast: 1 },
      note: "both with appendfsync always; the peer checks no key and no quota",
    }),
    compare({
      ...accepted,
      peer: peer("Fastify + queue.add, nothing on disk"),
      note: "ours with appendfsync always",
    }),
  ];
};
