// The rows of the bench: what a figure is compared with, what it should reach, and how they are shown.
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";

export interface Row {
  readonly scenario: string;
  readonly figure: string;
  readonly unit: string;
  /** The median of our samples; null where we did not take part. */
  readonly ours: number | null;
  readonly peer: { readonly name: string; readonly value: number } | null;
  /** Ours ÷ the peer's, round by round, and of these the median. */
  readonly ratio: number | null;
  readonly aim: string;
  readonly met: boolean | null;
  readonly note: string;
  readonly samples: { readonly ours: readonly number[]; readonly peer: readonly number[] };
}

export interface Comparison {
  readonly scenario: string;
  readonly figure: string;
  /** "/s", "ms", "MB". */
  readonly unit: string;
  readonly ours: readonly number[] | undefined;
  readonly peer?: { readonly name: string; readonly samples: readonly number[] | undefined };
  readonly aim?: { readonly ratioAtLeast: number } | { readonly atMost: number };
  readonly note?: string;
}

/** One row out of the samples of both sides, which were taken in turns. */
export function compare(comparison: Comparison): Row {
  const ours = comparison.ours ?? [];
  const peer = comparison.peer?.samples ?? [];
  const rounds = Math.min(ours.length, peer.length);
  // Neighbours in time are compared with each other, so that a slow minute of the machine weighs on both.
  const ratio =
    rounds === 0 ? null : median(ours.slice(0, rounds).map((value, round) => value / peer[round]!));
  const value = ours.length === 0 ? null : median(ours);
  const { aim } = comparison;
  const judged = aim === undefined ? null : "atMost" in aim ? value : ratio;
  return {
    scenario: comparison.scenario,
    figure: comparison.figure,
    unit: comparison.unit,
    ours: value,
    peer:
      comparison.peer === undefined || peer.length === 0
        ? null
        : { name: comparison.peer.name, value: median(peer) },
    ratio,
    aim: describeAim(aim, comparison.unit),
    met:
      aim === undefined || judged === null
        ? null
        : "atMost" in aim
          ? judged <= aim.atMost
          : judged >= aim.ratioAtLeast,
    note: comparison.note ?? "",
    samples: { ours, peer },
  };
}

export interface Circumstances {
  readonly date: string;
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
  readonly seconds: number;
  readonly rounds: number;
  /** How many measurements there were, and how many of them began while the machine was busy with other things. */
  readonly measurements: number;
  readonly disturbed: number;
  /** Scenarios that could not be measured, and why. */
  readonly failures: Readonly<Record<string, string>>;
}

/** Adds what is known of this machine to what is known of the run. */
export function circumstances(
  run: Pick<Circumstances, "seconds" | "rounds" | "measurements" | "disturbed" | "failures">,
): Circumstances {
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    node: process.versions.node,
    cpu: processors[0]?.model.trim() ?? "unknown",
    cores: processors.length,
    ...run,
  };
}

/** Writes `bench/results/<date>-node<major><suffix>.md` and `.json`; gives the path of the first. */
export function writeResults(rows: readonly Row[], about: Circumstances, suffix: string): string {
  const name = `${about.date.slice(0, 10)}-node${about.node.split(".")[0]}${suffix}`;
  const folder = fileURLToPath(new URL("./results/", import.meta.url));
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}${name}.json`, `${JSON.stringify({ ...about, rows }, undefined, 2)}\n`);
  writeFileSync(`${folder}${name}.md`, `# Bench, ${about.date.slice(0, 10)}\n\n${describe(rows, about)}`);
  return `bench/results/${name}.md`;
}

/** The circumstances and the table, as Markdown that is as readable on a terminal. */
export function describe(rows: readonly Row[], about: Circumstances): string {
  const head = ["scenario", "figure", "ours", "peer", "ratio", "aim", "", "note"];
  const cells = rows.map((row) => [
    row.scenario,
    row.figure,
    row.ours === null ? "–" : show(row.ours, row.unit),
    row.peer === null ? "–" : `${row.peer.name} ${show(row.peer.value, row.unit)}`,
    row.ratio === null ? "–" : row.ratio.toFixed(2),
    row.aim,
    row.met === null ? "" : row.met ? "met" : "MISSED",
    row.note,
  ]);
  const widths = head.map((title, column) =>
    Math.max(title.length, ...cells.map((line) => line[column]!.length)),
  );
  const draw = (line: readonly string[]) =>
    `| ${line.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`;
  const failures = Object.entries(about.failures).map(([scenario, why]) => `- ${scenario} failed: ${why}`);
  return [
    `Node ${about.node}, ${about.cpu}, ${about.cores} cores, ${about.date}.`,
    `${about.rounds} rounds in turns, ${about.seconds} s a measurement; values are medians, ratios the median of each round's.`,
    ...(about.disturbed === 0
      ? []
      : [
          `${about.disturbed} of ${about.measurements} measurements began while the machine was busy with other things: trust no figure.`,
        ]),
    "Load: wrk, 64 connections, 200-byte bodies, a random UUID as Idempotency-Key of each submit. Peers' Redis: a fresh one",
    "that keeps nothing on disk (appendonly off, no snapshots), which is its fastest; ours is durable before each 202.",
    "",
    draw(head),
    `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`,
    ...cells.map(draw),
    ...(failures.length === 0 ? [] : ["", ...failures]),
    "",
  ].join("\n");
}

function describeAim(aim: Comparison["aim"], unit: string): string {
  if (aim === undefined) return "";
  return "atMost" in aim ? `≤ ${show(aim.atMost, unit)}` : `ratio ≥ ${aim.ratioAtLeast.toFixed(2)}`;
}

function show(value: number, unit: string): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toLocaleString("en-US", { maximumFractionDigits: digits })}${unit === "/s" ? "" : " "}${unit}`;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
