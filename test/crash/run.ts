// `npm run test:crash -- --cycles N [--store NAME] [--alone] [--seed S] [--control NAME]`: the crash test at any length, as a table.

import { parseArgs } from "node:util";
import { build } from "./build.ts";
import { type CrashReport, runCrash } from "./harness.ts";
import { ALONE, FLEET } from "./house.ts";
import { STORES, type StoreName } from "./stores.ts";

const { values } = parseArgs({
  options: {
    cycles: { type: "string", default: "100" },
    seed: { type: "string", default: String(Date.now()) },
    store: { type: "string", default: "sqlite" },
    alone: { type: "boolean", default: false },
    control: { type: "string" },
    quiet: { type: "boolean", default: false },
  },
});
const cycles = Number(values.cycles);
if (!Number.isInteger(cycles) || cycles < 1)
  throw new RangeError("--cycles must be a whole number of at least 1.");

const { store } = values;
if (!isStore(store)) throw new RangeError(`--store must be one of ${Object.keys(STORES).join(", ")}.`);

console.log(`${cycles} cycles on ${store}, seed ${values.seed}`);
const built = await build();
try {
  const program = built.program(values.control === undefined ? "server" : `controls/${values.control}`);
  const tell = values.quiet ? () => {} : (line: string) => console.log(`  ${line}`);
  const roles = values.alone ? ALONE : FLEET;
  const report = await runCrash({ store, roles, program, cycles, seed: values.seed, tell });
  print(report);
  process.exitCode = report.violations.length === 0 ? 0 : 1;
} finally {
  await built.remove();
}

function isStore(name: string): name is StoreName {
  return Object.hasOwn(STORES, name);
}

function print(report: CrashReport): void {
  const { accept, settle, other } = report.kills;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const inside = percent((accept + settle) / Math.max(1, accept + settle + other));
  const rows: readonly (readonly [string, string | number])[] = [
    ["cycles", report.cycles],
    ["kills in an accept", accept],
    ["kills in a settle", settle],
    ["kills elsewhere", other],
    ["in an accept or a settle", inside],
    ["kills at named points", report.atPoints],
    ["commits whose reply was lost", report.lostReplies],
    ["202s recorded", report.recorded],
    ["jobs checked", report.jobs],
    ["replays checked", report.replays],
    ["given up after three losses", report.givenUp],
    ["lost", report.lost],
    ["doubled", report.doubled],
    ["broken otherwise", report.otherwise],
    ["success after healing", percent(report.healed)],
    ["slowest recovery, ms", report.slowestRecoveryMs],
    ["slowest cancel, ms", report.slowestCancelMs],
    ["seconds", report.seconds.toFixed(1)],
  ];
  for (const [name, value] of rows) console.log(`${name.padEnd(28)} ${String(value).padStart(8)}`);
  for (const { kind, detail } of report.violations.slice(0, 50)) console.log(`${kind}: ${detail}`);
}
