// A handler for threads and processes that does as it is told, also what no handler should.

import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { parentPort, threadId } from "node:worker_threads";
import { Failure, type HandlerAttempt } from "coatcheck";

export interface Told {
  readonly do: string;
  /** Do it in the first attempt only; then tell who ran. */
  readonly once?: boolean;
}

export default async function handler(input: Told, attempt: HandlerAttempt<unknown>): Promise<unknown> {
  if (input.once && attempt.number > 1) return who();
  const deed = DEEDS[input.do];
  if (deed === undefined) throw new Failure(`Nobody can ${input.do}.`);
  return deed(input, attempt);
}

const who = () => ({ pid: process.pid, threadId });

const DEEDS: Record<string, (input: Told, attempt: HandlerAttempt<unknown>) => unknown> = {
  tell: who,
  echo: (input) => ({ isDate: (input as unknown as { at: unknown }).at instanceof Date, input }),
  spin(_, attempt) {
    attempt.progress(1, "spinning");
    for (;;);
  },
  "spin quietly": () => {
    for (;;);
  },
  exit: () => process.exit(0),
  "throw later": () =>
    new Promise(() => {
      setTimeout(() => {
        throw new Error("nobody is listening");
      });
    }),
  "reject unheard": () =>
    new Promise(() => {
      void Promise.reject(new Error("nobody is waiting"));
    }),
  "eat memory"() {
    const eaten: unknown[] = [];
    for (;;) eaten.push(new Array(100_000).fill(eaten.length));
  },
  // As far as a handler can: whoever it works for must not take it amiss.
  async "talk nonsense"(_, attempt) {
    attempt.progress(1, "talking");
    const say = (message: unknown) =>
      parentPort === null ? process.send?.(message as object) : parentPort.postMessage(message);
    for (const message of [null, "hello", { run: 1 }, { run: 1, did: "log", level: "shout" }]) say(message);
    say({ run: 1, did: "call", call: 1, args: null });
    say({ run: 1, did: "return", json: "not json" });
    await new Promise(() => setInterval(() => {}, 1000));
  },
  throw: () => {
    throw new RangeError("an ordinary mistake");
  },
  fail: () => {
    throw new Failure("Final.", { status: 422, type: "no-month", extensions: { month: 13 } });
  },
  "give a function": () => () => 1,
  "give too much": () => "x".repeat(2_000_000),
  async resume(_, attempt) {
    if (attempt.number === 2) return { resumed: attempt.resume };
    await attempt.checkpoint({ row: 7 });
    process.exit(1);
  },
  async everything(_, attempt) {
    attempt.log.info("at work", { page: 1 });
    for (let percent = 0; percent <= 50; percent++) attempt.progress(percent, `Page ${percent}`);
    const { upload } = attempt;
    const read = upload && [
      upload.name,
      await readFile(await upload.path(), "utf8"),
      await text(await upload.stream()),
    ];
    const path = join(await attempt.scratch(), "made");
    await writeFile(path, "moved");
    const moved = await attempt.save("moved.txt", { path }, "text/plain");
    await attempt.save("bytes.bin", { bytes: new Uint8Array(100_000) }, "application/octet-stream");
    await attempt.save("stream.txt", { stream: Readable.from(["a ", "stream"]) }, "text/plain");
    const { id, owner, operation, number, idempotencyKey } = attempt;
    return { id, owner, operation, number, idempotencyKey, resume: attempt.resume ?? null, read, moved };
  },
  async file(_, attempt) {
    await attempt.save("other.txt", { bytes: Buffer.from("other") }, "text/plain");
    return attempt.save("result.txt", { bytes: Buffer.from("the result") }, "text/plain");
  },
  async obey(_, attempt) {
    attempt.progress(1, "waiting");
    await new Promise<void>((resolve) => attempt.signal.addEventListener("abort", () => resolve()));
    attempt.log.info(`heard ${attempt.signal.reason.reason}`);
    throw attempt.signal.reason;
  },
  async "bad type"(_, attempt) {
    await attempt.save("x", { bytes: Buffer.from("x") }, "not a type");
  },
  // The message is the pid of a program that would run for a minute.
  "leave a child"(_, attempt) {
    const child = spawn("sleep", ["60"], { stdio: "ignore" });
    attempt.progress(1, `${child.pid}`);
    return new Promise(() => {});
  },
  // A worker that is killed can't see to its processes.
  "spin after"(_, attempt) {
    attempt.progress(1, `${process.pid}`);
    return new Promise(() => {
      setTimeout(() => {
        for (;;);
      }, 50);
    });
  },
};
