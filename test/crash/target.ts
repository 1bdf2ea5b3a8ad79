// A server that is started to be killed.

import { readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { startTied } from "../process.ts";
import type { Inside, Point } from "./plan.ts";

export interface Target {
  readonly pid: number;
  /** Resolves with the port once it serves; rejects if it ends before. */
  readonly port: Promise<number>;
  /** Resolves with its exit code and what it printed when it is gone; null where a signal ended it. */
  readonly ended: Promise<{ readonly code: number | null; readonly output: string }>;
  signal(name: "SIGKILL" | "SIGSTOP" | "SIGCONT" | "SIGTERM" | "SIGUSR2"): void;
  /** What it was in the middle of when it was killed. */
  autopsy(): Promise<{ readonly inside: Inside; readonly point: Point | null }>;
}

/** Starts a compiled program on a folder; `crashAt` (`point#nth`) counts from SIGUSR2 on. */
export function startTarget(program: string, folder: string, crashAt = ""): Target {
  const diary = join(folder, `diary-${process.pid}-${++started}`);
  const points = join(dirname(program), program.includes("/controls/") ? "../points.js" : "points.js");
  const server = startTied([process.execPath, "--import", points, program, folder], {
    environment: {
      CRASH_DIARY: diary,
      CRASH_AT: crashAt,
      NODE_OPTIONS: "",
    },
  });
  const port = server.line("ready ").then(Number);
  port.catch(() => {});
  return {
    pid: server.pid,
    port,
    ended: server.ended,
    signal(name) {
      try {
        process.kill(server.pid, name);
      } catch {
        // It is gone already, which is what most signals are for.
      }
    },
    async autopsy() {
      await server.ended;
      const lines = (await readFile(diary, "utf8").catch(() => "")).split("\n");
      await rm(diary, { force: true });
      return readDiary(lines);
    },
  };
}

let started = 0;

/** A named point says what it is; otherwise it is what the writing thread had entered and not left. */
export function readDiary(lines: readonly string[]): {
  readonly inside: Inside;
  readonly point: Point | null;
} {
  const inside = new Set<string>();
  for (const line of lines) {
    if (line.startsWith("died ")) {
      const point = line.slice("died ".length) as Point;
      const [what] = point.split("-");
      return { inside: what === "accept" || what === "settle" ? what : "other", point };
    }
    if (line === "out") inside.clear();
    else if (line.startsWith("in ")) inside.add(line.slice("in ".length));
  }
  return { inside: inside.has("settle") ? "settle" : inside.has("accept") ? "accept" : "other", point: null };
}
