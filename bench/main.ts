// `npm run bench [-- submit poll …] [--seconds 5] [--rounds 3] [--peers-only]`: measures, prints one table, and writes it to
// bench/results/.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { oursIsBuilt } from "./ours.ts";
import { drain } from "./scenarios/drain.ts";
import { growth } from "./scenarios/growth.ts";
import { latency } from "./scenarios/latency.ts";
import { poll } from "./scenarios/poll.ts";
import { postgres } from "./scenarios/postgres.ts";
import { redis } from "./scenarios/redis.ts";
import type { Scenario } from "./scenarios/scenario.ts";
import { submit } from "./scenarios/submit.ts";
import { sustained } from "./scenarios/sustained.ts";
import { wake } from "./scenarios/wake.ts";
import { circumstances, describe, type Row, writeResults } from "./table.ts";

const scenarios: Readonly<Record<string, Scenario>> = {
  submit,
  poll,
  latency,
  drain,
  sustained,
  growth,
  postgres,
  redis,
  wake,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "5" },
    rounds: { type: "string", default: "3" },
    "peers-only": { type: "boolean", default: false },
  },
});
const seconds = readCount("--seconds", values.seconds);
const rounds = readCount("--rounds", values.rounds);
const withOurs = !values["peers-only"];
const unknown = positionals.filter((name) => !Object.hasOwn(scenarios, name));
if (unknown.length > 0)
  stop(`There is no scenario ${unknown.join(", ")}; there are ${Object.keys(scenarios).join(", ")}.`);
if (withOurs && !oursIsBuilt()) stop("There is no dist/: run npm run build first, or measure --peers-only.");

const chosen = positionals.length === 0 ? Object.keys(scenarios) : positionals;
const directory = mkdtempSync(join(tmpdir(), "coatcheck-bench-"));
process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
process.once("SIGINT", () => process.exit(130));
process.once("SIGTERM", () => process.exit(143));
const rows: Row[] = [];
const begun: boolean[] = [];
const failures: Record<string, string> = {};
for (const name of chosen) {
  console.log(name);
  try {
    const circumstance = {
      ...{ seconds, rounds, withOurs, directory, say: console.log },
      begun: (disturbed: boolean) => begun.push(disturbed),
    };
    rows.push(...(await scenarios[name]!(circumstance)));
  } catch (error) {
    // One scenario's failure is told, and does not cost the others.
    failures[name] = error instanceof Error ? error.message : String(error);
    console.error(error);
  }
}
const about = circumstances({
  ...{ seconds, rounds, failures, measurements: begun.length },
  disturbed: begun.filter((disturbed) => disturbed).length,
});
const suffix = `${positionals.map((name) => `-${name}`).join("")}${withOurs ? "" : "-peers"}`;
console.log(`\n${describe(rows, about)}\nWritten to ${writeResults(rows, about, suffix)}.`);
if (Object.keys(failures).length > 0) process.exitCode = 1;

function readCount(name: string, text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) stop(`${name} must be a positive whole number, not ${text}.`);
  return count;
}

function stop(message: string): never {
  console.error(message);
  process.exit(2);
}
