import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type BetterSqlite3 from "better-sqlite3";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { isSettled, type Job } from "../../core/job.ts";
import { COMPLETED, Desk, FAILED, RELEASED } from "../../testing/store/desk.ts";
import { createClock } from "../clock.ts";
import { type Store, StoreUnavailable, StoreUnusable } from "../store.ts";
import { openBeside, openDatabase } from "./database.ts";
import { Database } from "./driver.ts";
import { openSqlite, type SqliteOptions } from "./sqlite.ts";

const undone: (() => unknown)[] = [];

afterEach(async () => {
  for (const undo of undone.splice(0).reverse()) await undo();
});

function folderOf(): string {
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-faults-"));
  undone.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function open(options: SqliteOptions): Promise<Store> {
  const store = await openSqlite(options);
  undone.push(() => store.close());
  return store;
}

function deskOf(store: Store): Desk {
  const desk = new Desk(store, createClock(), undefined);
  undone.push(() => desk.end());
  return desk;
}

let sample: string;

// One store with 400 jobs in it, to be copied.
beforeAll(async () => {
  sample = join(mkdtempSync(join(tmpdir(), "coatcheck-sample-")), "store.db");
  const store = await openSqlite({ file: sample });
  const desk = new Desk(store, createClock(), undefined);
  await desk.jobs(400, { input: JSON.stringify("x".repeat(500)) });
  await desk.end();
  await store.close();
});
afterAll(() => rmSync(dirname(sample), { recursive: true }));

/** Sets bytes of a file. */
function damage(file: string, at: number, bytes: Buffer): void {
  const all = readFileSync(file);
  bytes.copy(all, at);
  writeFileSync(file, all);
}

describe("what makes a connection safe", () => {
  test("G6: every connection runs in WAL mode with synchronous=FULL, read back after the switch", () => {
    const file = join(folderOf(), "new", "store.db");
    const writing = openDatabase(file);
    const beside = openBeside(file);
    // What better-sqlite3 would do by itself, and why it is read back.
    const naive = new Database(file);
    const pragmas = ["journal_mode", "synchronous", "wal_autocheckpoint"] as const;
    const read = (db: BetterSqlite3.Database) => pragmas.map((pragma) => db.pragma(pragma, { simple: true }));
    expect(read(writing)).toEqual(["wal", 2, 0]);
    expect(read(beside)).toEqual(["wal", 2, 0]);
    expect(naive.pragma("synchronous", { simple: true })).toBe(1);
    for (const db of [writing, beside, naive]) db.close();
  });

  test("a new store leaves nothing beside it, and its folder is made for it", () => {
    const folder = folderOf();
    openDatabase(join(folder, "a", "b", "store.db")).close();
    expect(readdirSync(join(folder, "a", "b"))).toEqual(["store.db"]);
  });
});

describe("what is refused at the start, and left as it is", () => {
  interface Refusal {
    readonly title: string;
    /** Says which words the sentence must have. */
    readonly says: RegExp;
    /** It takes a reading of all the jobs to find it. */
    readonly isFoundByReading?: true;
    spoil(file: string): void;
  }

  const refusals: readonly Refusal[] = [
    {
      title: "an empty file",
      says: /empty file/,
      spoil: (file) => writeFileSync(file, ""),
    },
    {
      title: "a file that is no database",
      says: /not an SQLite database/,
      spoil: (file) => writeFileSync(file, "Dear diary, ".repeat(1000)),
    },
    {
      title: "a file shorter than a header",
      says: /not an SQLite database/,
      spoil: (file) => writeFileSync(file, "SQL"),
    },
    {
      title: "another application's database",
      says: /not a store of Coatcheck/,
      spoil(file) {
        const db = new Database(file);
        db.exec("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)");
        db.close();
      },
    },
    {
      title: "a store of a newer version",
      says: /newer Coatcheck/,
      spoil(file) {
        const db = openDatabase(file);
        db.pragma("user_version = 99");
        db.close();
      },
    },
    {
      title: "a store whose first bytes are damaged",
      says: /beginning is damaged/,
      spoil(file) {
        copyFileSync(sample, file);
        damage(file, 0, Buffer.alloc(16, 7));
      },
    },
    {
      title: "a store whose header is damaged behind its first bytes",
      says: /damaged|not a store/,
      spoil(file) {
        copyFileSync(sample, file);
        damage(file, 16, Buffer.alloc(84, 0xa5));
      },
    },
    {
      title: "a store with a page of garbage among its jobs",
      says: /damaged/,
      isFoundByReading: true,
      spoil(file) {
        copyFileSync(sample, file);
        damage(file, pageOf(file, "x".repeat(100)) * 4096, Buffer.alloc(4096, 0xa5));
      },
    },
    {
      title: "a store with a page of zeros among its jobs",
      says: /damaged/,
      isFoundByReading: true,
      spoil(file) {
        copyFileSync(sample, file);
        damage(file, pageOf(file, "x".repeat(100)) * 4096, Buffer.alloc(4096, 0));
      },
    },
    {
      title: "a store that was cut in half",
      says: /damaged/,
      isFoundByReading: true,
      spoil(file) {
        copyFileSync(sample, file);
        truncateSync(file, Math.floor(statSync(file).size / 8192) * 4096);
      },
    },
    {
      title: "a write-ahead log whose database is gone",
      says: /write-ahead log/,
      spoil(file) {
        withLog(file, 5);
        rmSync(file);
      },
    },
  ];

  for (const { title, spoil, says, isFoundByReading } of refusals) {
    test(`G6: ${title} is refused with a sentence that says so`, async () => {
      const folder = folderOf();
      const file = join(folder, "store.db");
      spoil(file);
      const contents = () =>
        readdirSync(folder)
          .filter((name) => !name.endsWith("-shm"))
          .map((name) => [name, readFileSync(join(folder, name)).toString("latin1")]);
      const before = contents();
      const opened = isFoundByReading ? openSqlite({ file }) : (async () => openDatabase(file))();
      await expect(opened).rejects.toBeInstanceOf(StoreUnusable);
      await expect(opened).rejects.toThrow(says);
      await expect(opened).rejects.toThrow(/^[A-Z].*\.$/s);
      expect(contents()).toEqual(before);
    });
  }

  test("a folder that can't be made or written is said so, and nothing else is harmed", async () => {
    const folder = folderOf();
    writeFileSync(join(folder, "file"), "");
    await expect(openSqlite({ file: join(folder, "file", "store.db") })).rejects.toThrow(/store\.db/);
    await inSmallFolder(async (small) => {
      const file = join(small, "store.db");
      copyFileSync(sample, file);
      execFileSync("mount", ["-o", "remount,ro", small]);
      await expect(openSqlite({ file })).rejects.toThrow(/can't be written/);
      await expect(openSqlite({ file: join(small, "other.db") })).rejects.toThrow(/can't be written/);
      execFileSync("mount", ["-o", "remount,rw", small]);
      expect((await (await open({ file })).read({ get: "counts" })).jobs).toBe(400);
    });
  });
});

/** The number of a page in the middle of those that hold this text. */
function pageOf(file: string, text: string): number {
  const all = readFileSync(file).toString("latin1");
  const pages: number[] = [];
  for (let page = 1; page * 4096 < all.length; page++) {
    if (all.slice(page * 4096, (page + 1) * 4096).includes(text)) pages.push(page);
  }
  return pages[Math.floor(pages.length / 2)] as number;
}

/** A store with commits that lie in its log only, as a kill -9 leaves it. Each writes one fact. */
function withLog(file: string, commits: number, before = 0): void {
  const made = `${file}.made`;
  const db = openDatabase(made);
  const write = (name: string) => db.prepare("INSERT INTO facts VALUES (?, 'true')").run(name);
  if (before > 0) {
    for (let commit = 1; commit <= before; commit++) write(`before ${commit}`);
    // The log begins anew, over what it held.
    db.pragma("wal_checkpoint(RESTART)");
  }
  for (let commit = 1; commit <= commits; commit++) write(`commit ${commit}`);
  copyFileSync(made, file);
  copyFileSync(`${made}-wal`, `${file}-wal`);
  db.close();
  rmSync(made);
}

function factsOf(file: string): number {
  const db = openDatabase(file);
  const count = db.prepare("SELECT count(*) FROM facts WHERE name GLOB 'commit *'").pluck().get() as number;
  db.close();
  return count;
}

const FRAME = 24 + 4096;
const frameAt = (frame: number) => 32 + frame * FRAME;

describe("the write-ahead log", () => {
  const flip =
    (at: number, bytes = 1) =>
    (file: string) => {
      const all = readFileSync(file);
      for (let index = at; index < at + bytes; index++) all[index] = (all[index] as number) ^ 0xff;
      writeFileSync(file, all);
    };
  const refused: readonly (readonly [string, (wal: string) => void])[] = [
    ["in the data of its first commit", flip(frameAt(0) + 2000)],
    ["in the data of a commit with two behind it", flip(frameAt(7) + 2000)],
    ["in the check sum of a frame", flip(frameAt(3) + 17)],
    ["in the salt of a frame", flip(frameAt(3) + 9)],
    ["in the page number of a frame", flip(frameAt(3) + 3)],
    ["in its header", flip(20)],
    ["in the magic number of its header", flip(0, 4)],
    ["that zeroed its header", (wal) => damage(wal, 0, Buffer.alloc(32))],
    ["that zeroed its first sector", (wal) => damage(wal, 0, Buffer.alloc(512))],
    ["that zeroed a whole frame in its middle", (wal) => damage(wal, frameAt(4), Buffer.alloc(FRAME))],
  ];
  test.each(refused)("with damage %s is refused, for acknowledged commits lie behind it", (_, harm) => {
    const file = join(folderOf(), "store.db");
    withLog(file, 10);
    harm(`${file}-wal`);
    expect(() => openDatabase(file)).toThrow(
      expect.objectContaining({
        name: "StoreUnusable",
        message: expect.stringMatching(/write-ahead log .* damaged/),
      }),
    );
  });

  const kept: readonly (readonly [string, number, (wal: string) => void])[] = [
    ["that is whole", 10, () => {}],
    ["whose last commit is torn by a power cut", 9, flip(frameAt(9) + 2000)],
    ["whose last frame was cut off", 9, (wal) => truncateSync(wal, frameAt(9) + 1000)],
    ["that ends behind a whole frame", 8, (wal) => truncateSync(wal, frameAt(8))],
    ["that has half a header", 0, (wal) => truncateSync(wal, 16)],
    ["of zero bytes", 0, (wal) => truncateSync(wal, 0)],
    ["that was extended but never written", 0, (wal) => writeFileSync(wal, Buffer.alloc(frameAt(3)))],
    ["that is not there", 0, (wal) => rmSync(wal)],
  ];
  test.each(kept)("%s is no reason to refuse", (_, commits, harm) => {
    const file = join(folderOf(), "store.db");
    withLog(file, 10);
    harm(`${file}-wal`);
    expect(factsOf(file)).toBe(commits);
  });

  test("whose old life lies behind its present one is no reason to refuse, damaged as that may be", () => {
    const file = join(folderOf(), "store.db");
    withLog(file, 3, 12);
    expect(statSync(`${file}-wal`).size).toBeGreaterThan(frameAt(10));
    flip(frameAt(8) + 2000)(`${file}-wal`);
    expect(factsOf(file)).toBe(3);
  });
});

const LOADER = new URL("../../../scripts/typescript.js", import.meta.url).href;
const urlOf = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);

/** Runs a module in a process of its own; `file` is its first argument. It is killed after the test, if it still runs. */
function start(code: string, ...args: string[]): ChildProcess {
  const module = join(folderOf(), "child.mjs");
  writeFileSync(module, code);
  const child = spawn(process.execPath, ["--import", LOADER, module, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  undone.push(() => kill(child));
  return child;
}

function kill(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill("SIGKILL");
  });
}

/** Each whole line of its standard output so far; a line that a kill cut is none. */
function linesOf(child: ChildProcess): string[] {
  const lines: string[] = [];
  let rest = "";
  child.stdout?.on("data", (bytes: Buffer) => {
    const parts = (rest + bytes.toString()).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  });
  return lines;
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once("close", (code) => resolve(code)));
}

const until = (isSo: () => void | Promise<void>) => vi.waitFor(isSo, { timeout: 20_000, interval: 10 });

/** What children say: submits that are as plain as can be. */
const SUBMITTING = `
  import { writeSync } from "node:fs";
  import { openSqlite } from ${urlOf("./sqlite.ts")};
  const policy = { maxAttempts: 3, backoff: { kind: "fixed", baseMs: 0, maxMs: 0, jitter: 0 }, timeoutMs: 60000,
    leaseMs: 60000, graceMs: 0, retentionMs: 3600000, priority: 0, weight: 1, running: null, isolated: true };
  const submitting = (id) => ({ do: "submit", sameness: null, idFingerprint: null, address: digest(id),
    limits: { active: null, operationBacklog: 1e9, backlog: 1e9 },
    submission: { id, owner: "child", operation: "op", policy, input: "1", upload: null, trace: null, delayMs: 0,
      startWithinMs: null } });
  const digest = (id) => Buffer.from(id).toString("hex").padEnd(32, "0").slice(0, 32);
  const say = (line) => writeSync(1, line + "\\n");
  const [, , file, name] = process.argv;
`;

describe("many processes", () => {
  test("G1: eight that open a new file at once make one store, and all of them work", async () => {
    const file = join(folderOf(), "store.db");
    const code = `${SUBMITTING}
      const store = await openSqlite({ file });
      await Promise.all([1, 2, 3, 4, 5].map((n) => store.write(submitting(name + "-" + n))));
      await store.close();
    `;
    const children = Array.from({ length: 8 }, (_, index) => start(code, file, `c${index}`));
    expect(await Promise.all(children.map(ended))).toEqual(Array(8).fill(0));
    const store = await open({ file });
    const { sights } = await store.read({ get: "list", filter: { owner: "child", limit: 100 } });
    expect(sights.map(({ job }) => job.row)).toEqual(Array.from({ length: 40 }, (_, index) => 40 - index));
    expect(new Set(sights.map(({ job }) => job.id)).size).toBe(40);
    const events = await store.read({ get: "events", after: 0, limit: 100 });
    expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
  });

  test("two that open a new file at once get the same store, each time", async () => {
    const folder = folderOf();
    for (let round = 0; round < 2; round++) {
      const file = join(folder, `store-${round}.db`);
      const stores = await Promise.all([open({ file }), open({ file })]);
      const desk = deskOf(stores[0]);
      const job = await desk.job();
      await until(async () => expect(await deskOf(stores[1]).see(job)).not.toBeNull());
    }
    expect(readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("a kill -9 at any moment of making or migrating leaves nothing, or a store that opens", async () => {
    const folder = folderOf();
    // Makes stores from nothing and from the version before the first, one after the other, as fast as it can.
    const code = `
      import { Database } from ${JSON.stringify(new URL("./driver.ts", import.meta.url).href)};
      import { renameSync, writeSync } from "node:fs";
      import { openDatabase } from ${urlOf("./database.ts")};
      const [, , folder, name] = process.argv;
      for (let n = 0; ; n++) {
        openDatabase(folder + "/made-" + name + "-" + n).close();
        const old = folder + "/old-" + name + "-" + n;
        const db = new Database(old + ".draft");
        db.pragma("application_id = " + 0x436f6174);
        db.exec("CREATE TABLE t (a)");
        db.exec("DROP TABLE t");
        db.close();
        renameSync(old + ".draft", old);
        openDatabase(old).close();
        writeSync(1, "made\\n");
      }
    `;
    const killOne = async (index: number) => {
      const child = start(code, folder, `${index}`);
      const lines = linesOf(child);
      await until(() => expect(lines.length).toBeGreaterThan(index % 3));
      await new Promise((done) => setTimeout(done, (index * 7) % 40));
      await kill(child);
    };
    // Four at a time.
    for (let index = 0; index < 20; index += 4)
      await Promise.all([0, 1, 2, 3].map((beside) => killOne(index + beside)));
    const stores = readdirSync(folder).filter((name) => /^(made|old)-\d+-\d+$/.test(name));
    expect(stores.length).toBeGreaterThan(40);
    for (const name of stores) {
      const db = openDatabase(join(folder, name));
      expect(db.pragma("quick_check", { simple: true })).toBe("ok");
      expect(db.prepare("SELECT count(*) FROM jobs").pluck().get()).toBe(0);
      db.close();
    }
  }, 60_000);

  test("A1: after a kill -9 at any moment, every write that was acknowledged is there", async () => {
    const folder = folderOf();
    const code = `${SUBMITTING}
      const store = await openSqlite({ file });
      let n = 0;
      const work = async () => {
        for (;;) {
          const id = name + "-" + ++n;
          await store.write(submitting(id));
          say("queued " + id);
          const { jobs } = await store.write({ do: "claim", worker: name, slots: { op: 1 }, limit: 1, running: 0, held: false });
          for (const job of jobs) {
            say("started " + job.id);
            if (n % 3 === 0) continue;
            await store.write({ do: "settle", row: job.row, attempt: job.attempt,
              outcome: { kind: "completed", result: { json: JSON.stringify(job.id) }, files: [] } });
            say("completed " + job.id);
          }
        }
      };
      await Promise.all([work(), work(), work(), work()]);
    `;
    // Three files at a time, and many lives of each.
    const stories = Array.from({ length: 3 }, async (_, at) => {
      const file = join(folder, `store-${at}.db`);
      const told: string[] = [];
      for (let life = 0; life < 5; life++) {
        const child = start(code, file, `${at}-${life}`);
        const lines = linesOf(child);
        await until(() => expect(lines.length).toBeGreaterThan(20));
        await new Promise((done) => setTimeout(done, (life * 37 + at * 13) % 90));
        await kill(child);
        await new Promise((done) => setImmediate(done));
        told.push(...lines);
      }
      return [file, told] as const;
    });
    let acknowledged = 0;
    for (const [file, told] of await Promise.all(stories)) {
      const store = await open({ file });
      const found = new Map<string, Job>();
      for (let belowRow: number | null | undefined; belowRow !== null; ) {
        const filter = { owner: "child", limit: 1000, ...(belowRow === undefined ? {} : { belowRow }) };
        const page = await store.read({ get: "list", filter });
        for (const { job } of page.sights) found.set(job.id, job);
        belowRow = page.nextRow;
      }
      for (const line of told) {
        const [what, id = ""] = line.split(" ");
        const job = found.get(id);
        expect(job, line).toBeDefined();
        if (what !== "queued") expect(job?.attempt, line).toBeGreaterThanOrEqual(1);
        if (what === "completed") {
          expect(job?.status, line).toBe("completed");
          expect(job?.result, line).toEqual({ json: JSON.stringify(id) });
        }
        acknowledged++;
      }
      // Its feed tells of all of it, without a gap.
      const events = await store.read({ get: "events", after: 0, limit: 1_000_000 });
      expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
      expect(events.filter(({ kind }) => kind === "queued")).toHaveLength(found.size);
    }
    expect(acknowledged).toBeGreaterThan(300);
  }, 90_000);
});

describe("two stores over one file", () => {
  async function two(): Promise<readonly [Desk, Desk]> {
    const file = join(folderOf(), "store.db");
    const [one, other] = [deskOf(await open({ file })), deskOf(await open({ file }))];
    Object.assign(other, { operation: one.operation, owner: one.owner });
    return [one, other];
  }

  test("what one accepts the other answers, with the same place", async () => {
    const [one, other] = await two();
    const jobs: Job[] = [];
    for (let count = 0; count < 10; count++) jobs.push(await (count % 2 === 0 ? one : other).job());
    for (const job of jobs) {
      const sight = await one.see(job);
      expect(sight?.position).toBe(jobs.indexOf(job) + 1);
      expect(await other.see(job)).toEqual(sight);
    }
    await other.attempt();
    expect((await one.see(jobs[9] as Job))?.position).toBe(9);
  });

  test("B1: one key at both, 32 times at once each, makes one job", async () => {
    const [one, other] = await two();
    const asked = { key: "k" };
    const all = await Promise.all(
      Array.from({ length: 64 }, (_, index) => (index % 2 === 0 ? one : other).accept(asked)),
    );
    expect(new Set(all.map(({ job }) => job.id)).size).toBe(1);
  });

  test("D4: a quota holds over both", async () => {
    const [one, other] = await two();
    const asked = { limits: { active: 7 } };
    const all = await Promise.all(
      Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? one : other).submit(asked)),
    );
    expect(all.filter((written) => "did" in written)).toHaveLength(7);
  });

  test("claims at both give no job twice, and what one settles the other does not rescue", async () => {
    const [one, other] = await two();
    const jobs = await one.jobs(200);
    const claims = await Promise.all(
      Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? one : other).claim({ limit: 5 })),
    );
    const taken = claims.flatMap((claim) => claim.jobs);
    expect(taken.map(({ row }) => row).sort((a, b) => a - b)).toEqual(jobs.map(({ row }) => row));
    // Whoever claimed it, either may settle: it is the attempt that counts.
    await Promise.all(taken.map((job, index) => (index % 2 === 0 ? other : one).settle(job)));
    for (const desk of [one, other]) {
      desk.clock.pass(0);
      await desk.sweep();
      for (const job of jobs.slice(0, 20)) expect((await desk.get(job)).status).toBe("completed");
    }
  });

  test("a lease that one holds is renewed for the other to see, who rescues it once the first is gone", async () => {
    const file = join(folderOf(), "store.db");
    const [first, clock] = [await open({ file }), createClock()];
    const [one, other] = [deskOf(first), new Desk(await open({ file, clock }), clock, undefined)];
    const job = await one.job({ policy: { leaseMs: 1000, isolated: true } });
    const attempt = await one.attempt({ operation: one.operation, held: true });
    await until(async () => {
      expect((await other.get(job)).leaseUntil).toBeGreaterThan(attempt.leaseUntil ?? 0);
    });
    await other.sweep();
    expect((await other.get(job)).status).toBe("processing");
    await first.close();
    clock.pass(2000);
    await other.sweep();
    expect(await other.get(job)).toMatchObject({ status: "queued", crashes: 1 });
    await other.end();
  });

  test("a cancel at one is heard at the other by itself, and so is every other event, in the same order", async () => {
    const [one, other] = await two();
    const job = await one.job();
    const attempt = await one.attempt();
    await other.cancel(job);
    await until(() => expect(one.heard.at(-1)?.kind).toBe("cancel-requested"));
    await one.settle(attempt, { kind: "canceled" });
    await until(() => expect(other.heard.at(-1)?.kind).toBe("canceled"));
    expect(one.heard).toEqual(other.heard);
  });

  test("a pause at one holds back the other", async () => {
    const [one, other] = await two();
    await one.job();
    await one.write({ do: "pause", operation: one.operation, paused: true });
    expect((await other.claim()).jobs).toEqual([]);
    await other.write({ do: "pause", operation: one.operation, paused: false });
    expect((await one.claim()).jobs).toHaveLength(1);
  });

  test("a claim that waits at one is answered by what the other accepts", async () => {
    const [one, other] = await two();
    const waiting = one.claim({ waitMs: 60_000 });
    const job = await other.job();
    expect((await waiting).jobs.map(({ row }) => row)).toEqual([job.row]);
  });

  test("after all kinds of work at both at once, both tell the same jobs, places, counts and events", async () => {
    const [one, other] = await two();
    const work = async (desk: Desk, seed: number) => {
      let state = seed;
      const dice = (sides: number) => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return (state >>> 8) % sides;
      };
      const mine: Job[] = [];
      for (let round = 0; round < 60; round++) {
        const policy = { running: 3, priority: dice(2), isolated: dice(2) === 0 };
        const owner = `owner ${dice(3)}`;
        mine.push(...(await desk.jobs(dice(4), { owner, policy, delayMs: dice(4) === 0 ? 20 : 0 })));
        const { jobs } = await desk.claim({ limit: 4 });
        await Promise.all(
          jobs.map((job) => desk.settle(job, [COMPLETED, FAILED, RELEASED, COMPLETED][dice(4)] ?? COMPLETED)),
        );
        const some = mine[dice(Math.max(1, mine.length))];
        if (some !== undefined && dice(3) === 0) await desk.cancel(some);
        if (dice(10) === 0) await desk.sweep();
      }
      return mine;
    };
    const jobs = (await Promise.all([work(one, 1), work(other, 2)])).flat();
    const events = await one.store.read({ get: "events", after: 0, limit: 100_000 });
    await until(() => expect([one.heard.length, other.heard.length]).toEqual([events.length, events.length]));
    expect(one.heard).toEqual(events);
    expect(other.heard).toEqual(events);
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
    // What is parked, or wakes with the next claim, each knows for itself: a claim and a sweep make them look.
    const seen = async (desk: Desk) => {
      const sights = await Promise.all(jobs.map((job) => desk.see(job)));
      return sights.map((sight) => sight?.job);
    };
    expect(await seen(one)).toEqual(await seen(other));
    expect(await one.store.read({ get: "counts" })).toEqual(await other.store.read({ get: "counts" }));
    // And together they bring every one of them to its end.
    one.clock.pass(60_000);
    other.clock.pass(60_000);
    await until(async () => {
      for (const desk of [one, other]) {
        desk.clock.pass(0);
        for (const job of (await desk.claim({ limit: 50 })).jobs) await desk.settle(job);
      }
      const ends = await Promise.all(jobs.map((job) => one.get(job)));
      expect(ends.filter(({ status }) => !isSettled(status))).toEqual([]);
    });
  });
});

/**
 * Works in a file system of 6 MB that can be full or read-only. Only root may mount one, and in some containers not even
 * root: there `maxBytes` stands for the full disk, in the case beside.
 */
async function inSmallFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = folderOf();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], { stdio: "ignore" });
  } catch {
    return;
  }
  undone.push(() => execFileSync("umount", ["-l", folder]));
  await work(folder);
}

/** Everything that a store tells of some jobs. */
async function told(desk: Desk, jobs: readonly Job[]) {
  const outlook = {
    get: "outlook",
    owner: desk.owner,
    operation: desk.operation,
    priority: 0,
    weight: 1,
  } as const;
  return {
    sights: await Promise.all(jobs.map((job) => desk.see(job))),
    counts: await desk.store.read({ get: "counts" }),
    outlook: await desk.store.read(outlook),
    listed: (await desk.store.read({ get: "list", filter: { owner: desk.owner, limit: 1000 } })).sights
      .length,
    events: (await desk.store.read({ get: "events", after: 0, limit: 100_000 })).length,
  };
}

describe("a full disk", () => {
  /** Submits until there is no room for one more, and gives what was accepted. */
  async function fill(desk: Desk, input: string): Promise<Job[]> {
    const jobs: Job[] = [];
    for (const size of [20, 1]) {
      for (let isFull = false; !isFull; ) {
        const accepted = await Promise.allSettled(Array.from({ length: size }, () => desk.job({ input })));
        for (const one of accepted) {
          if (one.status === "fulfilled") jobs.push(one.value);
          else expect(one.reason).toBeInstanceOf(StoreUnavailable);
        }
        isFull = accepted.some(({ status }) => status === "rejected");
        if (jobs.length > 5000) throw new Error("The disk never filled.");
      }
    }
    return jobs;
  }

  test("A3: past its most bytes a store accepts nothing, keeps what it has, and reads on", async () => {
    const store = await open({ file: join(folderOf(), "store.db"), maxBytes: 1_000_000 });
    const desk = deskOf(store);
    const jobs = await fill(desk, JSON.stringify("x".repeat(20_000)));
    expect(jobs.length).toBeGreaterThan(20);
    const before = await told(desk, jobs);
    expect(before.counts.jobs).toBe(jobs.length);
    for (let count = 0; count < 3; count++)
      await expect(desk.submit({ input: `"${"x".repeat(100_000)}"` })).rejects.toBeInstanceOf(
        StoreUnavailable,
      );
    expect(await told(desk, jobs)).toEqual(before);
  });

  test("on a full disk nothing changes, reads go on, and with room again all of it works, unopened", async () => {
    await inSmallFolder(async (folder) => {
      const clock = createClock();
      const broken: Error[] = [];
      const file = join(folder, "store.db");
      const store = await open({ file, clock, onBroken: (error) => broken.push(error) });
      const desk = new Desk(store, clock, undefined);
      const filler = join(folder, "filler");
      writeFileSync(filler, Buffer.alloc(3_000_000));
      const limited = { policy: { running: 1 }, owner: "limited" };
      const few = [await desk.job(), await desk.job(limited), await desk.job(limited), await desk.job()];
      const attempt = await desk.attempt({ limit: 1 });
      const input = JSON.stringify("x".repeat(30_000));
      const jobs = [...few, ...(await fill(desk, input))];
      const before = await told(desk, jobs);
      expect(before.counts.jobs).toBe(jobs.length);
      const refused = [
        () => desk.submit({ key: "k", input }),
        () => desk.claim(),
        () => desk.settle(attempt),
        () => desk.beat(attempt, { checkpoint: '"x"' }),
        () => desk.cancel(few[3] as Job),
        () => desk.write({ do: "pause", operation: desk.operation, paused: true }),
      ];
      for (let round = 0; round < 3; round++) {
        // Together they are one transaction, which is too large.
        const all = await Promise.allSettled(refused.map((write) => write()));
        for (const one of all) {
          expect(one.status).toBe("rejected");
          expect((one as PromiseRejectedResult).reason).toBeInstanceOf(StoreUnavailable);
        }
      }
      expect(await told(desk, jobs)).toEqual(before);
      rmSync(filler);
      // Nothing that was refused is there, and everything that was there goes on.
      expect((await desk.accept({ key: "k" })).replayed).toBe(false);
      expect(await desk.settle(attempt)).toMatchObject({ status: "completed" });
      expect(await desk.cancel(few[3] as Job)).toMatchObject({ job: { status: "canceled" } });
      for (const job of (await desk.claim()).jobs) await desk.settle(job);
      for (const job of (await desk.claim()).jobs) await desk.settle(job);
      const ends = await Promise.all(jobs.map((job) => desk.get(job)));
      expect(ends.filter(({ status }) => !isSettled(status))).toEqual([]);
      expect(broken).toEqual([]);
      expect(desk.heard.map(({ seq }) => seq)).toEqual(desk.heard.map((_, index) => index + 1));
      await desk.end();
      await store.close();
    });
  });
});

describe("a broken invariant", () => {
  test("G7: one write that meets what must not be ends the store, and nothing of its batch is kept", async () => {
    const file = join(folderOf(), "store.db");
    const broken: Error[] = [];
    const store = await open({ file, onBroken: (error) => broken.push(error) });
    const desk = deskOf(store);
    const first = await desk.job();
    const raw = new Database(file);
    raw
      .prepare(
        "INSERT INTO states (row, status, revision, attempt, failures, crashes, due_at, updated_at) VALUES (?, 'bogus', 2, 0, 0, 0, 0, 0)",
      )
      .run(first.row);
    const batch = await Promise.allSettled([desk.job(), desk.job(), desk.claim(), desk.job()]);
    for (const one of batch) {
      expect(one.status).toBe("rejected");
      expect((one as PromiseRejectedResult).reason).toBeInstanceOf(StoreUnavailable);
    }
    await until(() => expect(broken).toHaveLength(1));
    await expect(desk.submit()).rejects.toBeInstanceOf(StoreUnavailable);
    await expect(desk.see(first)).rejects.toBeInstanceOf(StoreUnavailable);
    await store.close();
    expect(broken).toHaveLength(1);
    raw.prepare("DELETE FROM states WHERE row = ?").run(first.row);
    raw.close();
    const again = deskOf(await open({ file }));
    expect((await again.store.read({ get: "counts" })).jobs).toBe(1);
    expect(await again.get(first)).toEqual(first);
    expect(await again.store.read({ get: "events", after: 0, limit: 10 })).toHaveLength(1);
  });

  test("damage that is met while it runs is told as such, and the store ends rather than guess", async () => {
    const file = join(folderOf(), "store.db");
    const broken: Error[] = [];
    const store = await open({ file, onBroken: (error) => broken.push(error) });
    const desk = deskOf(store);
    const job = await desk.job();
    const raw = new Database(file);
    raw.prepare("UPDATE jobs SET policy = 99 WHERE row = ?").run(job.row);
    await expect(desk.see(job)).rejects.toBeInstanceOf(StoreUnavailable);
    await expect(desk.cancel(job)).rejects.toBeInstanceOf(StoreUnavailable);
    await until(() => expect(broken).toHaveLength(1));
    raw.close();
  });
});
