// A server that is started to be killed.

import { writeFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { startTied } from "../process.ts";
import type { Role } from "./house.ts";
import type { Inside, LoadPoint, Point } from "./plan.ts";

export interface Target {
  readonly pid: number;
  /** Resolves with the port once it serves; rejects if it ends before. */
  readonly port: Promise<number>;
  /** Resolves with its exit code and what it printed when it is gone; null where a signal ended it. */
  readonly ended: Promise<{ readonly code: number | null; readonly output: string }>;
  signal(name: "SIGKILL" | "SIGSTOP" | "SIGCONT" | "SIGTERM"): void;
  /** Makes it kill itself when it comes to this point for the nth time from now on. */
  dieAt(point: LoadPoint, nth: number): void;
  /** What it was in the middle of when it was killed. */
  autopsy(): Promise<{ readonly inside: Inside; readonly point: Point | null }>;
}

export interface TargetOptions {
  /** A compiled program. */
  readonly program: string;
  readonly folder: string;
  readonly role: Role;
  /** The URL of the store. */
  readonly store: string;
  /** Where on the way to a store it kills itself. Default: nowhere. */
  readonly dieIn?: Point | undefined;
}

/** Starts a program; how it ends is told by its diary. */
export function startTarget({ program, folder, role, store, dieIn }: TargetOptions): Target {
  const diary = join(folder, `diary-${process.pid}-${++started}`);
  const points = join(dirname(program), program.includes("/controls/") ? "../points.js" : "points.js");
  const server = startTied([process.execPath, "--import", points, program, folder, role, store], {
    environment: { CRASH_DIARY: diary, CRASH_AT: dieIn ?? "", NODE_OPTIONS: "" },
  });
  const port = server.line("ready ").then(Number);
  port.catch(() => {});
  const signal = (name: NodeJS.Signals) => {
    try {
      process.kill(server.pid, name);
    } catch {
      // It is gone already, which is what most signals are for.
    }
  };
  return {
    pid: server.pid,
    port,
    ended: server.ended,
    signal,
    dieAt(point, nth) {
      writeFileSync(`${diary}.at`, `${point}#${nth}`);
      signal("SIGUSR2");
    },
    async autopsy() {
      await server.ended;
      const lines = (await readFile(diary, "utf8").catch(() => "")).split("\n");
      await Promise.all([rm(diary, { force: true }), rm(`${diary}.at`, { force: true })]);
      return readDiary(lines);
    },
  };
}

let started = 0;

/** What the writing thread had entered and not left, and the point at which it died by its own hand. */
export function readDiary(lines: readonly string[]): {
  readonly inside: Inside;
  readonly point: Point | null;
} {
  const inside = new Set<string>();
  let point: Point | null = null;
  for (const line of lines) {
    if (line.startsWith("died ")) point = line.slice("died ".length) as Point;
    else if (line === "out") inside.clear();
    else if (line.startsWith("in ")) inside.add(line.slice("in ".length));
  }
  return { inside: inside.has("settle") ? "settle" : inside.has("accept") ? "accept" : "other", point };
}
