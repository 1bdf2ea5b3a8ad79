// Runs one attempt of `import-csv` in a process of its own, for the test that kills it; tells on standard output what
// the attempt stored. From 60 % on it stands still and waits to be killed, at the place that it was told.

import { writeSync } from "node:fs";
import { rehearse } from "../rehearse.ts";
import handler from "./handler.ts";
import { importCsv } from "./operation.ts";
import type { Position } from "./source.ts";

/** Where the attempt stands still: a batch is committed, and its checkpoint is not stored, or it is. */
export type Standstill = "before-checkpoint" | "after-checkpoint";

/** A line of standard output. */
export type Told = { readonly checkpoint: Position } | { readonly standsAt: number };

const [rows, standstill] = process.argv.slice(2) as [string, Standstill];
const input = importCsv.input!.parse({ table: "orders", generate: { rows: Number(rows) } });
const stopAt = Number(rows) * 0.6;

await rehearse(handler, input, {
  onCheckpoint(checkpoint) {
    if (standstill === "before-checkpoint" && checkpoint.rows >= stopAt) standStill(checkpoint.rows);
    tell({ checkpoint });
  },
  onProgress({ percent }) {
    if (percent !== null && percent >= 60) standStill(percent);
  },
});

function standStill(standsAt: number): void {
  tell({ standsAt });
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

// Written at once: what a killed process had in a buffer would be lost.
function tell(told: Told): void {
  writeSync(1, `${JSON.stringify(told)}\n`);
}
