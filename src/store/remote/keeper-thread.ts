// The thread that renews leases: a heartbeat that says nothing, where a third of a lease is gone.

import { parentPort, workerData } from "node:worker_threads";
import type { HeartbeatWrite } from "../store.ts";
import type { Engine, OpenEngine } from "./engine.ts";

export interface KeeperData {
  readonly module: string;
  readonly options: unknown;
  readonly clock: SharedArrayBuffer;
}

/** `hold`: six numbers an attempt: row, attempt, when it began, leaseMs, graceMs, when its time is over; `release`: row and attempt. */
export type KeeperMessage = { readonly hold: Float64Array } | { readonly release: Float64Array } | "close";

interface Held {
  readonly row: number;
  readonly attempt: number;
  readonly leaseMs: number;
  readonly graceMs: number;
  readonly endsAt: number;
  renewAt: number;
  /** Once it was asked to stop. */
  stopsAt: number;
}

/** Often enough for the shortest lease, 1 s, a third of which is gone before it is renewed. */
const LOOK_EVERY_MS = 100;

/** Leases renewed by one transaction. */
const MAX_BATCH = 1000;

const port = parentPort as NonNullable<typeof parentPort>;
const { module, options, clock } = workerData as KeeperData;
const held = new Map<number, Held>();
/** Being opened, or open: a thread that is closed meanwhile waits for it, or its connections would keep the thread. */
let opened: Promise<Engine> | null = null;
let isRenewing = false;
let isClosing = false;

port.on("message", (message: KeeperMessage) => {
  if (message === "close") void close();
  else if ("hold" in message) hold(message.hold);
  else release(message.release);
});
const looking = setInterval(() => void renew(), LOOK_EVERY_MS);

function hold(numbers: Float64Array): void {
  const at = (index: number) => numbers[index] as number;
  for (let n = 0; n < numbers.length; n += 6) {
    const [row, attempt, startedAt, leaseMs, graceMs] = [at(n), at(n + 1), at(n + 2), at(n + 3), at(n + 4)];
    const renewAt = startedAt + leaseMs / 3;
    held.set(row, {
      row,
      attempt,
      leaseMs,
      graceMs,
      endsAt: at(n + 5),
      renewAt,
      stopsAt: Number.POSITIVE_INFINITY,
    });
  }
}

function release(numbers: Float64Array): void {
  for (let n = 0; n < numbers.length; n += 2) {
    const row = numbers[n] as number;
    if (held.get(row)?.attempt === numbers[n + 1]) held.delete(row);
  }
}

async function renew(): Promise<void> {
  if (isRenewing || isClosing || held.size === 0) return;
  isRenewing = true;
  try {
    opened ??= open();
    const engine = await opened.catch((error: unknown) => {
      // The next round opens it anew.
      opened = null;
      throw error;
    });
    const { now } = engine.moment();
    const due: Held[] = [];
    for (const one of held.values()) {
      if (now >= one.endsAt || now >= one.stopsAt) held.delete(one.row);
      // The clock may have been set back: then the lease is longer than it says.
      else if (now >= one.renewAt || one.renewAt - now > one.leaseMs) due.push(one);
    }
    for (let at = 0; at < due.length; at += MAX_BATCH) await renewSome(engine, due.slice(at, at + MAX_BATCH));
  } catch {
    // The next round tries again; a lease that can't be renewed lapses, and the fence holds.
  } finally {
    isRenewing = false;
  }
}

async function renewSome(from: Engine, some: readonly Held[]): Promise<void> {
  const writes = some.map(({ row, attempt }): HeartbeatWrite => ({ do: "heartbeat", row, attempt }));
  const { written } = await from.transact(writes);
  const { now } = from.moment();
  for (const [at, one] of some.entries()) {
    const answer = written[at];
    // It was not renewed, and may be the next time.
    if (answer instanceof Error) continue;
    if (answer === undefined || !("did" in answer) || answer.did !== "keep") {
      if (held.get(one.row) === one) held.delete(one.row);
      continue;
    }
    one.renewAt = now + one.leaseMs / 3;
    if (answer.cancel && one.stopsAt === Number.POSITIVE_INFINITY) one.stopsAt = now + one.graceMs;
  }
}

async function open(): Promise<Engine> {
  const { open: openEngine } = (await import(module)) as { open: OpenEngine<unknown> };
  return await openEngine(options, { clock, role: "keeper" });
}

async function close(): Promise<void> {
  isClosing = true;
  clearInterval(looking);
  const engine = await opened?.catch(() => null);
  await engine?.close();
  port.close();
}
