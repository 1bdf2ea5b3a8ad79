// Puts load on a server with wrk.
import { randomInt } from "node:crypto";
import { fileURLToPath } from "node:url";
import { startTied } from "../../test/process.ts";
import { provideBinary } from "../../test/servers.ts";

export interface Load {
  readonly url: string;
  readonly script: "submit" | "poll";
  readonly seconds: number;
  /** The status that every answer must have; anything else ends the bench. */
  readonly status: number;
  /** For `poll`: a file with a path on each line. */
  readonly paths?: string;
  /** Default 64. */
  readonly connections?: number;
}

/** What one run measured. Latencies are of a closed loop: each connection sends when it has its answer. */
export interface LoadReport {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

interface WrkReport {
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** wrk's own counts; `status` is of answers of 400 and more. */
  readonly failures: Readonly<Record<"status" | "connect" | "read" | "write" | "timeout", number>>;
  /** Answers by status; empty unless they were checked. */
  readonly statuses: Readonly<Record<string, number>>;
}

/** Warms the server up, and then measures. */
export async function putLoad(load: Load): Promise<LoadReport> {
  await warmUp(load);
  return await measure(load);
}

/** Two seconds of the load, with the status of every answer checked: an unexpected one ends the bench. */
export async function warmUp(load: Load): Promise<void> {
  const { statuses } = await runWrk(load, "check", 2);
  if (Object.keys(statuses).join() !== `${load.status}`) {
    throw new Error(`${load.url} should answer ${load.status}; it answered ${JSON.stringify(statuses)}`);
  }
}

/**
 * Measures. wrk counts answers of 400 and more by itself, which costs it nothing; one such answer, or a connection
 * lost, ends the bench.
 */
export async function measure(load: Load): Promise<LoadReport> {
  const report = await runWrk(load, "measure", load.seconds);
  if (Object.values(report.failures).some((count) => count > 0)) {
    throw new Error(`${load.url} failed under load: ${JSON.stringify(report.failures)}`);
  }
  const { p50Ms, p99Ms, maxMs } = report;
  return { perSecond: report.requests / report.seconds, p50Ms, p99Ms, maxMs };
}

async function runWrk(load: Load, mode: "check" | "measure", seconds: number): Promise<WrkReport> {
  const wrk = await provideBinary("wrk", "wrk");
  const script = fileURLToPath(new URL(`./${load.script}.lua`, import.meta.url));
  // One thread of wrk keeps up with the fastest peer, and leaves the most of a small machine to the server.
  const options = [
    "--threads",
    "1",
    "--connections",
    `${load.connections ?? 64}`,
    "--duration",
    `${seconds}s`,
  ];
  const scriptArguments = [`${randomInt(2 ** 48 - 1)}`, mode, load.paths ?? ""];
  const run = startTied([
    wrk,
    ...options,
    "--timeout",
    "10s",
    "--script",
    script,
    load.url,
    "--",
    ...scriptArguments,
  ]);
  const { code, output } = await run.ended;
  const report = output.split("\n").find((line) => line.startsWith("report "));
  if (code !== 0 || report === undefined) throw new Error(`wrk failed (${code}): ${output}`);
  return JSON.parse(report.slice("report ".length)) as WrkReport;
}
