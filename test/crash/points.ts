// Loaded before a server (`--import`), in its threads too: makes it die at a named point, and says what it is in the
// middle of. It wraps SQLite's statements and Node's responses from outside; the product knows nothing of it.
//
// What a thread is in the middle of goes into the file CRASH_DIARY, a line at a time: the page cache outlives a
// SIGKILL. CRASH_AT is a point on the way to a store. All others are told later: at SIGUSR2 the file beside the diary
// (`.at`) says `point#nth`, counted from then on.

import { openSync, readFileSync, writeSync } from "node:fs";
import type { OutgoingMessage, ServerResponse } from "node:http";
import { getEnvironmentData, isMainThread, type Serializable, setEnvironmentData } from "node:worker_threads";
import type Database from "better-sqlite3";
import { type LoadPoint, POINTS, type Point } from "./plan.ts";

type Execute = (...values: unknown[]) => Database.RunResult;

const ARMED = "coatcheck crash armed";

const diaryFile = process.env.CRASH_DIARY ?? "/dev/null";
const diary = openSync(diaryFile, "a");
const atStart = process.env.CRASH_AT ?? "";
/** Which point it is, from 1, and how often it is still to be come to. */
const armed = shared();

if (isMainThread) {
  process.on("SIGUSR2", () => {
    const [point, nth] = readFileSync(`${diaryFile}.at`, "utf8").split("#");
    Atomics.store(armed, 1, Number(nth));
    Atomics.store(armed, 0, POINTS.indexOf(point as LoadPoint) + 1);
  });
  wrapReplies((await import("node:http")).ServerResponse);
} else {
  wrapStatements((await import("../../src/store/sqlite/driver.ts")).Database);
}

function shared(): Int32Array {
  if (isMainThread) setEnvironmentData(ARMED, new SharedArrayBuffer(8) as unknown as Serializable);
  return new Int32Array(getEnvironmentData(ARMED) as unknown as SharedArrayBuffer);
}

function say(line: string): void {
  writeSync(diary, `${line}\n`);
}

function reachUnderLoad(point: LoadPoint, before: () => void = () => {}): void {
  if (POINTS[Atomics.load(armed, 0) - 1] !== point || Atomics.sub(armed, 1, 1) !== 1) return;
  before();
  die(point);
}

function reach(point: Point): void {
  if (point === atStart) die(point);
}

function die(point: Point): never {
  say(`died ${point}`);
  process.kill(process.pid, "SIGKILL");
  for (;;); // The kernel lets no thread go on from here.
}

/** The transactions: what one holds is told by the rows that it writes. */
function wrapStatements({ prototype }: typeof Database): void {
  const inside = new Set<"accept" | "claim" | "settle">();
  const enter = (what: "accept" | "claim" | "settle") => {
    if (inside.has(what)) return;
    inside.add(what);
    if (what !== "claim") say(`in ${what}`);
  };
  const { prepare } = prototype;
  prototype.prepare = function (this: Database.Database, sql: string) {
    const statement = prepare.call(this, sql);
    const run = statement.run.bind(statement) as Execute;
    if (sql === "COMMIT") {
      statement.run = (...values: unknown[]) => {
        for (const what of inside) reachUnderLoad(`${what}-before-commit`);
        const done = run(...values);
        for (const what of inside) reachUnderLoad(`${what}-after-commit`);
        if (inside.has("accept") || inside.has("settle")) say("out");
        inside.clear();
        return done;
      };
    } else if (sql.startsWith("INSERT INTO jobs ")) {
      statement.run = (...values: unknown[]) => {
        enter("accept");
        return run(...values);
      };
    } else if (/^(INSERT INTO states \(status,|UPDATE states SET status =)/.test(sql)) {
      statement.run = (...values: unknown[]) => {
        enter(values[0] === "processing" ? "claim" : "settle");
        return run(...values);
      };
    }
    return statement;
  } as typeof prepare;
  const { exec, close } = prototype;
  prototype.exec = function (this: Database.Database, sql: string) {
    const database = exec.call(this, sql);
    if (sql.includes("CREATE TABLE jobs")) reach("create-begun");
    return database;
  };
  // A new store is closed once before it gets its name.
  prototype.close = function (this: Database.Database) {
    if (!this.memory) reach("create-before-name");
    return close.call(this);
  };
}

/** The replies: what becomes of a 202 that is durable. */
function wrapReplies({ prototype }: typeof ServerResponse): void {
  const { end } = prototype;
  prototype.end = function (this: ServerResponse, ...values: Parameters<OutgoingMessage["end"]>) {
    const isAccept = this.statusCode === 202 && this.req.method !== "DELETE";
    if (!isAccept) return end.apply(this, values);
    reachUnderLoad("accept-before-reply");
    reachUnderLoad("accept-half-reply", () =>
      this.socket?.write(
        "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nLocat",
      ),
    );
    const done = end.apply(this, values);
    reachUnderLoad("accept-after-reply");
    return done;
  } as typeof end;
}
