import { mkdtemp, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { COMPLETED, callerOf, type Opened, openLedger } from "../../test/ledger.ts";
import type { Blobs } from "../blob/blobs.ts";
import { openFileBlobs } from "../blob/file.ts";
import type { Job } from "../core/job.ts";
import { defineOperation } from "../core/operation.ts";
import { createSweep } from "./sweep.ts";

const HOUR_MS = 3_600_000;
const ECHO = defineOperation({ name: "echo", retention: "1h" });
const ADA = callerOf("ada");

let folder: string;
let files: Blobs;
let opened: Opened;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "coatcheck-sweep-"));
  files = await openFileBlobs(folder);
});
afterEach(async () => {
  vi.useRealTimers();
  await opened.end();
  await files.close();
  await rm(folder, { recursive: true, force: true });
});

const write = async (address: string, part: "upload" | number = "upload") =>
  (await files.write({ address, part, name: "a.bin" }, Readable.from([Buffer.from("x")]), { maxBytes: 10 }))
    .blob;

/** The file as if it had been written so long ago. */
async function age(blob: string, ms: number) {
  const [address = "", part = ""] = blob.split("/");
  const at = new Date(Date.now() - ms);
  const place = join(folder, address.slice(0, 2), address);
  for (const path of [join(place, part), place]) await utimes(path, at, at);
}

/** The blobs, with other answers to what is given. */
const blobsWith = (other: Partial<Blobs>): Blobs => ({
  write: (place, from, options) => files.write(place, from, options),
  take: (place, path) => files.take(place, path),
  open: (blob) => files.open(blob),
  path: (blob) => files.path(blob),
  remove: (address) => files.remove(address),
  addresses: () => files.addresses(),
  close: () => files.close(),
  ...other,
});

async function addresses() {
  const found: string[] = [];
  for await (const { address } of files.addresses()) found.push(address);
  return found.sort();
}

describe("what has expired", () => {
  const finish = async () => {
    const job = await opened.accept(ADA, ECHO);
    const address = opened.jobs.address(ADA.owner, job.id);
    await opened.work(ECHO);
    return { job, address };
  };

  it("goes with its upload and the files of all its attempts, and others' files stay", async () => {
    opened = await openLedger({ operations: [ECHO], blobs: files });
    const { job, address } = await finish();
    const blobs = [await write(address), await write(address, 1), await write(address, 2)];
    opened.clock.pass(1);
    const younger = await finish();
    const kept = await write(younger.address, 1);
    opened.clock.pass(HOUR_MS - 1);
    await opened.sweep();
    expect((await opened.jobs.get(ADA, job.id))?.job.goneAt).not.toBeNull();
    expect((await opened.jobs.get(ADA, younger.job.id))?.job.goneAt).toBeNull();
    expect(await Promise.all(blobs.map((blob) => files.path(blob)))).toEqual([null, null, null]);
    expect(await files.path(kept)).not.toBeNull();
  });

  it("does not go a moment before its time", async () => {
    opened = await openLedger({ operations: [ECHO], blobs: files });
    const { job, address } = await finish();
    const blob = await write(address, 1);
    opened.clock.pass(HOUR_MS - 1);
    await opened.sweep();
    expect((await opened.jobs.get(ADA, job.id))?.job).toMatchObject({ goneAt: null, result: { json: "1" } });
    expect(await files.path(blob)).not.toBeNull();
  });

  it("goes with its files also where another's can't be removed, which is told of", async () => {
    const failure = new Error("The disk is read-only.");
    let failing = "";
    const blobs = blobsWith({
      remove: (address) => (address === failing ? Promise.reject(failure) : files.remove(address)),
    });
    opened = await openLedger({ operations: [ECHO], blobs });
    const [one, other] = [await finish(), await finish()];
    for (const { address } of [one, other]) await write(address, 1);
    failing = one.address;
    opened.clock.pass(HOUR_MS);
    await opened.sweep();
    expect(await addresses()).toEqual([one.address]);
    expect(opened.errors).toEqual([failure]);
  });

  it("goes all at once, however much it is", async () => {
    const removed = new Set<string>();
    const blobs = blobsWith({ remove: async (address) => void removed.add(address) });
    opened = await openLedger({ operations: [ECHO], blobs });
    for (let count = 0; count < 1201; count++) await opened.accept(ADA, ECHO);
    for (const { jobs } of [await opened.claim(ECHO, 1201)]) {
      for (const job of jobs) await opened.attempts.settle(job, COMPLETED);
    }
    opened.clock.pass(HOUR_MS);
    await opened.sweep();
    expect(removed.size).toBe(1201);
    expect((await opened.jobs.list(ADA, { limit: 1 })).views).toEqual([]);
  });

  it("is asked for once by two who sweep at once", async () => {
    opened = await openLedger({ operations: [ECHO], blobs: files });
    const sweep = vi.spyOn(opened.store, "write");
    await Promise.all([opened.sweep(), opened.sweep()]);
    expect(sweep).toHaveBeenCalledTimes(1);
    await opened.sweep();
    expect(sweep).toHaveBeenCalledTimes(2);
  });
});

describe("files without a job", () => {
  const ORPHANS = ["a".repeat(32), "f".repeat(32)] as const;

  /** Looks for orphans; resolves once it tried to remove this one, which is given last. */
  async function collectUntil(last: string, other: Partial<Blobs> = {}) {
    const errors: unknown[] = [];
    const tried = await new Promise<string[]>((resolve) => {
      const removed: string[] = [];
      const blobs = blobsWith({
        async *addresses() {
          const found: { address: string; changedAt: number }[] = [];
          for await (const one of files.addresses()) found.push(one);
          yield* found.sort((one, two) => Number(one.address === last) - Number(two.address === last));
        },
        async remove(address) {
          removed.push(address);
          if (address === last) setImmediate(() => resolve(removed));
          await (other.remove ?? files.remove.bind(files))(address);
        },
      });
      sweep = createSweep(opened.store, blobs, (error) => errors.push(error));
    });
    await sweep?.close();
    return { tried, errors };
  }
  let sweep: ReturnType<typeof createSweep> | null = null;

  it("are removed at the start once they are old, and none that is fresh or whose job lives", async () => {
    opened = await openLedger({ operations: [ECHO] });
    const states = [
      await opened.accept(ADA, ECHO),
      await opened.accept(ADA, ECHO),
      await opened.accept(ADA, ECHO),
    ];
    await opened.work(ECHO);
    await opened.claim(ECHO);
    const alive = states.map(({ id }) => opened.jobs.address(ADA.owner, id));
    for (const address of alive) await age(await write(address), 48 * HOUR_MS);
    for (const orphan of ORPHANS) await age(await write(orphan), HOUR_MS + 60_000);
    const fresh = "b".repeat(32);
    await age(await write(fresh), HOUR_MS - 60_000);
    const { tried, errors } = await collectUntil(ORPHANS[1]);
    expect([tried.sort(), errors]).toEqual([[...ORPHANS], []]);
    expect(await addresses()).toEqual([...alive, fresh].sort());
  });

  it("of a job that has expired are removed, if they could not be when it did", async () => {
    opened = await openLedger({ operations: [ECHO] });
    const { id } = await opened.accept(ADA, ECHO);
    const address = opened.jobs.address(ADA.owner, id);
    await opened.work(ECHO);
    opened.clock.pass(HOUR_MS);
    // This ledger knows of no files, so it leaves them.
    await opened.sweep();
    await age(await write(address), 2 * HOUR_MS);
    expect((await collectUntil(address)).tried).toEqual([address]);
    expect(await addresses()).toEqual([]);
  });

  it("are removed also where another can't be, which is told of", async () => {
    opened = await openLedger({ operations: [ECHO] });
    for (const orphan of ORPHANS) await age(await write(orphan), 2 * HOUR_MS);
    const failure = new Error("The disk is read-only.");
    const { tried, errors } = await collectUntil(ORPHANS[1], {
      remove: (address) => (address === ORPHANS[0] ? Promise.reject(failure) : files.remove(address)),
    });
    expect([tried, errors]).toEqual([[...ORPHANS], [failure]]);
    expect(await addresses()).toEqual([ORPHANS[0]]);
  });

  it("are looked for again every hour, and a clock that was set forward makes none older than it is", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date"] });
    opened = await openLedger({ operations: [ECHO] });
    const now = Date.now();
    const found = [
      { address: "b".repeat(32), changedAt: now - 1000 },
      { address: ORPHANS[1], changedAt: now - 2 * HOUR_MS },
    ];
    let isThere = false;
    const removed: string[] = [];
    const last = new Promise<void>((resolve) => {
      const blobs = blobsWith({
        async *addresses() {
          if (isThere) yield* found;
        },
        async remove(address) {
          removed.push(address);
          if (address === ORPHANS[1]) resolve();
        },
      });
      sweep = createSweep(opened.store, blobs, (error) => expect.unreachable(String(error)));
    });
    isThere = true;
    vi.setSystemTime(now + 24 * HOUR_MS);
    vi.advanceTimersByTime(HOUR_MS);
    await last;
    expect(removed).toEqual([ORPHANS[1]]);
    await sweep?.close();
  });

  it("are removed in pages, all of them", async () => {
    opened = await openLedger({ operations: [ECHO] });
    const orphans = Array.from({ length: 1201 }, (_, index) => index.toString(16).padStart(32, "0"));
    const removed: string[] = [];
    await new Promise<void>((resolve) => {
      const blobs = blobsWith({
        async *addresses() {
          for (const address of orphans) yield { address, changedAt: 0 };
        },
        async remove(address) {
          removed.push(address);
          if (removed.length === orphans.length) resolve();
        },
      });
      sweep = createSweep(opened.store, blobs, () => {});
    });
    await sweep?.close();
    expect(removed).toEqual(orphans);
  });
});

describe("a closed sweep", () => {
  it("changes nothing more", async () => {
    opened = await openLedger({ operations: [ECHO] });
    const { id } = await opened.accept(ADA, ECHO);
    await opened.work(ECHO);
    const sweep = createSweep(opened.store, null, () => {});
    await sweep.close();
    opened.clock.pass(HOUR_MS);
    const write = vi.spyOn(opened.store, "write");
    await sweep.run();
    expect(write).not.toHaveBeenCalled();
    expect((await opened.jobs.get(ADA, id))?.job as Job).toMatchObject({ goneAt: null });
  });
});
