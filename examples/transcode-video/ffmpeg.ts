// Runs ffmpeg: without a shell, without the server's environment, stopped when the signal says so.

import { type ChildProcess, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

/** What ffmpeg tells of its work about twice a second. */
export interface FfmpegReport {
  /** How much of the output is written, in seconds of film. */
  readonly seconds: number;
  /** Seconds of film per second; null while unknown. */
  readonly speed: number | null;
  readonly bytes: number;
  readonly frames: number;
}

export interface FfmpegOptions {
  readonly signal?: AbortSignal;
  /** Default `ffmpegPath()`. */
  readonly program?: string;
  /** Each report, with the input's length in seconds (null where its file does not say). What it throws ends the run. */
  readonly onReport?: (report: FfmpegReport, totalSeconds: number | null) => void;
}

/** ffmpeg ended without a video. */
export class FfmpegEnded extends Error {
  override readonly name = "FfmpegEnded";
  /** Whose fault it seems: the input's (another try gives the same) or the machine's. */
  readonly blames: "input" | "machine";
  constructor(message: string, blames: "input" | "machine") {
    super(message);
    this.blames = blames;
  }
}

// ffmpeg may finish its file when it is asked to stop, but not for long.
const STOP_MS = 2000;
// Enough for the last complaints of a broken input.
const KEPT_CHARACTERS = 4096;
// Complaints that another machine, or this one later, may not have.
const MACHINE_TROUBLE = /no space left|cannot allocate|too many open files|disk quota|read-only file/i;

/** Runs ffmpeg with these arguments to its end. Rejects with the signal's reason, `FfmpegEnded` or what `onReport` threw. */
export async function runFfmpeg(args: readonly string[], options: FfmpegOptions = {}): Promise<void> {
  const { signal, onReport, program = ffmpegPath() } = options;
  signal?.throwIfAborted();
  const child = spawn(
    program,
    ["-hide_banner", "-nostdin", "-nostats", "-y", "-progress", "pipe:1", ...args],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH },
    },
  );
  let stopped: { readonly why: unknown } | undefined;
  let killTimer: NodeJS.Timeout | undefined;
  const stop = (why: unknown) => {
    if (stopped !== undefined) return;
    stopped = { why };
    child.kill("SIGTERM");
    killTimer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  };
  const onAbort = () => stop(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });

  const banner = readBanner(child);
  let frames = 0;
  readReports(child, (report) => {
    frames = report.frames;
    if (stopped !== undefined) return;
    try {
      onReport?.(report, banner.totalSeconds);
    } catch (error) {
      stop(error);
    }
  });
  try {
    const { code, killedBy } = await ended(child);
    if (stopped !== undefined) throw stopped.why;
    if (code === 0 && frames > 0) return;
    const blames = killedBy !== null || MACHINE_TROUBLE.test(banner.tail) ? "machine" : "input";
    const how = killedBy === null ? `with code ${code}` : `by ${killedBy}`;
    throw new FfmpegEnded(`ffmpeg ended ${how}: ${banner.tail.trim().split("\n").at(-1) ?? ""}`, blames);
  } finally {
    clearTimeout(killTimer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** The ffmpeg of `@ffmpeg-installer/ffmpeg` where it is installed, else the one on the PATH. */
export function ffmpegPath(): string {
  try {
    return (createRequire(import.meta.url)("@ffmpeg-installer/ffmpeg") as { path: string }).path;
  } catch {
    return "ffmpeg";
  }
}

function ended(child: ChildProcess): Promise<{ code: number | null; killedBy: string | null }> {
  return new Promise((resolve, reject) => {
    child.once("error", (error) =>
      reject(new FfmpegEnded(`ffmpeg can't be run: ${error.message}`, "machine")),
    );
    // `close` comes after the last line of both pipes, `exit` may come before.
    child.once("close", (code, killedBy) => resolve({ code, killedBy }));
  });
}

// The input's length stands in the banner, once, before the first report: "  Duration: 00:00:40.00, start: …"; what
// follows is kept only as the last words.
function readBanner(child: ChildProcess): { readonly totalSeconds: number | null; readonly tail: string } {
  const banner = { totalSeconds: null as number | null, tail: "" };
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    banner.tail = (banner.tail + text).slice(-KEPT_CHARACTERS);
    if (banner.totalSeconds !== null) return;
    const found = /^ {2}Duration: (\d+:\d\d:\d\d\.\d+),/m.exec(banner.tail)?.[1];
    if (found !== undefined) banner.totalSeconds = secondsOf(found);
  });
  return banner;
}

// `-progress` writes key=value lines; each report ends with the key `progress`.
function readReports(child: ChildProcess, onReport: (report: FfmpegReport) => void): void {
  if (child.stdout === null) return;
  let fields = new Map<string, string>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    const [key = "", value = ""] = line.split("=", 2).map((part) => part.trim());
    if (key !== "progress") return void fields.set(key, value);
    const speed = Number.parseFloat(fields.get("speed") ?? "");
    onReport({
      seconds: secondsOf(fields.get("out_time") ?? ""),
      speed: speed > 0 ? speed : null,
      bytes: Number(fields.get("total_size")) || 0,
      frames: Number(fields.get("frame")) || 0,
    });
    fields = new Map();
  });
}

// "00:00:12.345678"; it is "N/A" or negative before the first frame.
function secondsOf(time: string): number {
  const [h, m, s] = time.split(":").map(Number);
  return Math.max(0, (h ?? 0) * 3600 + (m ?? 0) * 60 + (s ?? 0)) || 0;
}
