// Our side of the bench: all that touches Coatcheck is here. The server runs from dist/ by plain node, as users run it;
// what runs in process (drainOurs, claimOurs, fillStore) is called by child.ts, also on dist/.
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { cp, mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Job } from "../src/core/job.ts";
import { Database } from "../src/store/sqlite/driver.ts";
import type { Store, StoredJob } from "../src/store/store.ts";
import { freePort, startTied } from "../test/process.ts";
import { type RunningServer, runInChild } from "./contestant.ts";

export interface OurServer extends RunningServer {
  /** How many jobs have been settled as completed so far. */
  completed(): Promise<number>;
}

export interface OurOptions {
  /** Whether the server works on `empty` jobs too (a hundred at once); otherwise they stay queued. */
  readonly work: boolean;
  /** A data directory of `storeOf`, which is the server's from here on and removed with it. */
  readonly dataDir: string;
  /** A PostgreSQL's or Redis's URL; default the SQLite file in `dataDir`. */
  readonly store?: string;
}

export function oursIsBuilt(): boolean {
  return existsSync(main);
}

/** Starts our server on a free port, ready to answer. */
export async function startOurs({ work, dataDir, store }: OurOptions): Promise<OurServer> {
  const port = await freePort();
  const config = await writeConfiguration(dataDir, work);
  const role = work ? [] : ["--no-work"];
  const started = await startCommand(["serve", "--config", config, ...role], dataDir, port, store);
  return { ...started, completed: () => countCompleted(dataDir) };
}

/** Starts a worker on a store that a server of `startOurs` uses. */
export async function startOurWorker({ dataDir, store }: Omit<OurOptions, "work">): Promise<RunningServer> {
  const port = await freePort();
  const config = await writeConfiguration(dataDir, true);
  return await startCommand(["work", "--config", config, "--health-port", `${port}`], dataDir, port, store);
}

async function startCommand(
  command: readonly string[],
  dataDir: string,
  port: number,
  store = sqliteIn(dataDir),
): Promise<RunningServer> {
  const server = startTied([process.execPath, main, ...command], {
    directory: dataDir,
    // Its log, a line per transition of a job, is written all the same.
    quiet: true,
    environment: {
      NODE_ENV: "production",
      HOST: "127.0.0.1",
      PORT: `${port}`,
      COATCHECK_STORE: store,
      COATCHECK_FILES: join(dataDir, "files"),
    },
  });
  const url = `http://127.0.0.1:${port}`;
  let end: string | undefined;
  void server.ended.then(({ output }) => {
    end = output.trim();
  });
  // A store of a million jobs takes seconds to open.
  const deadline = Date.now() + 60_000;
  while (!(await isReady(url))) {
    if (end !== undefined) throw new Error(`Our server ended at its start: ${end}`);
    if (Date.now() > deadline) {
      await server.stop();
      throw new Error("Our server was not ready within 60 s.");
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { url, pid: server.pid, stop: () => server.stop() };
}

/**
 * A new data directory below `directory` whose store holds `jobs` queued jobs of `empty`. The first of a size is filled
 * (in a process of its own), the others are copies.
 */
export async function storeOf(jobs: number, directory: string): Promise<string> {
  const template = join(directory, `template-${jobs}`);
  if (!existsSync(template)) {
    await mkdir(template);
    if (jobs > 0) await runInChild("./ours.ts", "fillStore", sqliteIn(template), jobs);
  }
  const copy = await mkdtemp(join(directory, "data-"));
  await cp(template, copy, { recursive: true });
  return copy;
}

/** Fills a store with `jobs` queued jobs of `empty`, each with a random key. */
export async function fillStore(url: string, jobs: number): Promise<void> {
  const store = await openStore(url);
  const { policy } = await emptyOperation();
  const input = JSON.stringify({ text: "x".repeat(189) });
  const batch = 2_000;
  for (let filled = 0; filled < jobs; filled += batch) {
    const random = randomBytes(32 * Math.min(batch, jobs - filled)).toString("hex");
    const writes = Array.from({ length: random.length / 64 }, (_, at) => {
      const digits = random.slice(at * 64, at * 64 + 64);
      const submission = {
        id: digits.slice(0, 26),
        owner: "local",
        operation: "empty",
        policy,
        input,
        upload: null,
      };
      return store.write({
        do: "submit",
        submission: { ...submission, trace: null, delayMs: 0, startWithinMs: null },
        sameness: { key: digits.slice(0, 32), fingerprint: digits.slice(32), reach: "life" },
        address: digits.slice(16, 48),
        idFingerprint: null,
        limits: { active: null, operationBacklog: 1e9, backlog: 1e9 },
      });
    });
    await Promise.all(writes);
  }
  await store.close();
}

/**
 * In process, on a store which holds `jobs` queued jobs: settles all of them, `concurrency` at once, by a handler that
 * does nothing. Gives jobs per second, from the first claim to the last durable settle.
 */
export async function drainOurs(store: string, jobs: number, concurrency: number): Promise<number> {
  return await work(store, jobs, Number.POSITIVE_INFINITY, concurrency);
}

/** In process, on a store: claims and settles for five seconds, a hundred at once. Gives claims per second. */
export async function claimOurs(store: string, concurrency = 100): Promise<number> {
  return await work(store, Number.POSITIVE_INFINITY, 5_000, concurrency);
}

/** Fills a store with `jobs` completed jobs of `empty`, as if they had been worked on a while ago. */
export async function fillFinished(url: string, jobs: number): Promise<void> {
  const { decide } = await built<typeof import("../src/core/machine.ts")>("core/machine.js");
  const store = await openStore(url);
  const { policy } = await emptyOperation();
  const part = 1_000;
  const moment = { now: Date.now(), dice: 0 };
  for (let row = 1; row <= jobs; ) {
    const stored: StoredJob[] = [];
    for (; stored.length < part && row <= jobs; row++) {
      const digits = randomBytes(32).toString("hex");
      const submission = {
        ...{ id: digits.slice(0, 26), owner: "local", operation: "empty", policy, upload: null, trace: null },
        ...{ input: JSON.stringify({ text: "x".repeat(189) }), delayMs: 0, startWithinMs: null },
      };
      const commands = [
        { do: "submit", submission, row, turn: row },
        { do: "claim", worker: "bench" },
        { do: "settle", attempt: 1, outcome: { kind: "completed", result: { json: "{}" }, files: [] } },
      ] as const;
      let job: Job | null = null;
      for (const command of commands) {
        const decision = decide(job, command, moment);
        if ("refused" in decision) throw new Error(`A job was refused as ${decision.refused}.`);
        job = decision.job;
      }
      stored.push({
        ...{ job: job!, address: digits.slice(16, 48), idFingerprint: null, reach: "life" as const },
        ...{ key: digits.slice(0, 32), fingerprint: digits.slice(32) },
      });
    }
    await store.write({ do: "restore", jobs: stored, events: [] });
  }
  await store.close();
}

async function work(store: string, jobs: number, mostMs: number, concurrency: number): Promise<number> {
  const { coatcheck } = await built<typeof import("../src/server/desk.ts")>("server/desk.js");
  const empty = await emptyOperation();
  const files = mkdtempSync(join(tmpdir(), "coatcheck-bench-files-"));
  const desk = coatcheck({ operations: [empty], store, files, log: false });
  desk.handle(empty, () => ({}), { concurrency });
  let settled = 0;
  // Opened first: what it takes to open a large store is no part of this.
  await desk.ready();
  const isDone = new Promise<void>((resolve) => {
    if (mostMs !== Number.POSITIVE_INFINITY) setTimeout(resolve, mostMs);
    void desk.listen(({ kind, status }) => {
      if (kind === "failed" || status === "failed") throw new Error("An empty job failed.");
      if (kind !== "completed") return;
      settled += 1;
      if (settled === jobs) resolve();
    });
  });
  const begin = performance.now();
  await desk.work();
  await isDone;
  const perSecond = (settled * 1_000) / (performance.now() - begin);
  await desk.close();
  rmSync(files, { recursive: true });
  return perSecond;
}

/** How many jobs the server has completed, read from its database beside it. */
async function countCompleted(dataDir: string): Promise<number> {
  const database = new Database(databaseIn(dataDir), { readonly: true });
  try {
    return database.prepare("SELECT count(*) FROM states WHERE status = 'completed'").pluck().get() as number;
  } finally {
    database.close();
  }
}

async function emptyOperation() {
  const { defineOperation } = await built<typeof import("../src/index.ts")>("index.js");
  return defineOperation({ name: "empty", input: { type: "object" } });
}

/** What was compiled, with the types of its source. */
async function built<Exports>(path: string): Promise<Exports> {
  return (await import(new URL(`../dist/${path}`, import.meta.url).href)) as Exports;
}

async function openStore(url: string): Promise<Store> {
  if (url.startsWith("postgres")) {
    const path = "store/postgres/postgres.js";
    const { openPostgres } = await built<typeof import("../src/store/postgres/postgres.ts")>(path);
    return await openPostgres({ url });
  }
  if (url.startsWith("redis")) {
    const { openRedis } = await built<typeof import("../src/store/redis/redis.ts")>("store/redis/redis.js");
    return await openRedis({ url });
  }
  const { openSqlite } =
    await built<typeof import("../src/store/sqlite/sqlite.ts")>("store/sqlite/sqlite.js");
  return await openSqlite({ file: url.slice("sqlite:".length) });
}

/** The URL of the store in a data directory. */
export function sqliteIn(dataDir: string): string {
  return `sqlite:${databaseIn(dataDir)}`;
}

function databaseIn(dataDir: string): string {
  return join(dataDir, "coatcheck.db");
}

async function writeConfiguration(dataDir: string, work: boolean): Promise<string> {
  const config = join(dataDir, `bench-${work ? "work" : "serve"}.config.mjs`);
  await writeFile(config, configuration(work));
  return config;
}

/** The configuration of a server or worker: one operation, limits on but never reached. */
function configuration(work: boolean): string {
  return `
import { defineOperation } from ${JSON.stringify(library)};

const empty = defineOperation({
  name: "empty",
  path: "/operations/empty",
  backlog: 1_000_000_000,
  input: {
    type: "object",
    properties: { text: { type: "string" } },
    required: ["text"],
    additionalProperties: false,
  },
});

export default {
  operations: [${work ? "{ operation: empty, handler: async () => ({ startedAt: performance.timeOrigin + performance.now() }), concurrency: 100 }" : "{ operation: empty }"}],
  tiers: { default: { active: 1_000_000_000, rate: { quota: 1_000_000, window: "1s" } } },
  log: { level: "warn" },
};
`;
}

async function isReady(url: string): Promise<boolean> {
  return await fetch(`${url}/health/ready`).then(
    (response) => response.ok,
    () => false,
  );
}

const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
// By its address, not its name: the loader that runs the bench would take the name for src/.
const library = new URL("../dist/index.js", import.meta.url).href;
