// Growth: whether a store that holds many jobs still accepts and claims as an empty one does, and in what memory.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { type Measurement, runInChild, takeTurns, using } from "../contestant.ts";
import { Caller, percentile, timeEach } from "../load/jobs.ts";
import { putLoad } from "../load/load.ts";
import { sqliteIn, startOurs, storeOf } from "../ours.ts";
import { compare, type Row } from "../table.ts";
import type { Scenario } from "./scenario.ts";

export const growth: Scenario = async (circumstance) => {
  const { seconds, withOurs, directory } = circumstance;
  if (!withOurs) return [];
  const measureWith =
    (jobsStored: number): Measurement =>
    async () => {
      const server = startOurs({ work: false, dataDir: await storeOf(jobsStored, directory) });
      const figures = await using(server, async ({ url, pid }) => {
        const caller = new Caller(url);
        // The last of the queue: nobody has more jobs ahead.
        const monitors = await caller.submitMany(100);
        let turn = 0;
        const readOne = async () => {
          turn += 1;
          const { status, body } = await caller.get(monitors[turn % monitors.length]!);
          const { position } = JSON.parse(body) as { readonly position: number | null };
          if (status !== 200 || position === null || position <= jobsStored) {
            throw new Error(`A status read was answered ${status} with the position ${position}`);
          }
        };
        const times = await timeEach(readOne, { warmUp: 300, seconds: 1 });
        caller.close();
        const load = { url: `${url}/operations/empty`, script: "submit", seconds, status: 202 } as const;
        const { perSecond } = await putLoad(load);
        return { accepted: perSecond, memoryMB: residentMB(pid), positionMs: percentile(times, 0.5) };
      });
      // Claims need something to claim: the "empty" store holds what five seconds use up, and little more.
      const dataDir = await storeOf(Math.max(jobsStored, 100_000), directory);
      const claimed = (await runInChild("./ours.ts", "claimOurs", sqliteIn(dataDir))) as number;
      await rm(dataDir, { recursive: true });
      return { ...figures, claimed };
    };
  const samples = await takeTurns(
    { "0": measureWith(0), "100000": measureWith(100_000), "1000000": measureWith(1_000_000) },
    circumstance,
  );
  const base = { scenario: "growth" } as const;
  return ([100_000, 1_000_000] as const).flatMap((jobs): readonly Row[] => {
    const [empty, grown] = [samples["0"], samples[`${jobs}`]];
    const with_ = `with ${jobs.toLocaleString("en-US")} queued`;
    const peer = "ours, empty";
    return [
      compare({
        ...base,
        figure: `claimed, ${with_}`,
        unit: "/s",
        ours: grown?.claimed,
        peer: { name: peer, samples: empty?.claimed },
        aim: { ratioAtLeast: 0.85 },
      }),
      compare({
        ...base,
        figure: `accepted, ${with_}`,
        unit: "/s",
        ours: grown?.accepted,
        peer: { name: peer, samples: empty?.accepted },
      }),
      compare({
        ...base,
        figure: `memory, ${with_}`,
        unit: "MB",
        ours: grown?.memoryMB,
        peer: { name: peer, samples: empty?.memoryMB },
        aim: { atMost: 300 },
        note: "resident, after the load",
      }),
      compare({
        ...base,
        figure: `status read with position, ${with_}`,
        unit: "ms",
        ours: grown?.positionMs,
        peer: { name: peer, samples: empty?.positionMs },
        aim: { atMost: 1 },
        note: "p50 of one caller over HTTP",
      }),
    ];
  });
};

/** The resident memory of a process, in 10^6 bytes. */
function residentMB(pid: number): number {
  const status = `/proc/${pid}/status`;
  const kibibytes = existsSync(status)
    ? /^VmRSS:\s*(\d+)/m.exec(readFileSync(status, "utf8"))?.[1]
    : execFileSync("ps", ["-o", "rss=", "-p", `${pid}`], { encoding: "utf8" });
  return (Number(kibibytes) * 1_024) / 1_000_000;
}
