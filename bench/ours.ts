// Our side of the bench: all that touches Coatcheck is here. The server runs from dist/ by plain node, as users run it;
// what runs in process (drainOurs, claimOurs, fillStore) is called by child.ts, also on dist/.
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
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
}

export function oursIsBuilt(): boolean {
  return existsSync(main);
}

/** Starts our server on a free port, ready to answer. */
export async function startOurs({ work, dataDir }: OurOptions): Promise<OurServer> {
  const port = await freePort();
  const config = join(dataDir, "bench.config.mjs");
  await writeFile(config, configuration(work));
  const server = startTied([process.execPath, main, "serve", "--config", config], {
    directory: dataDir,
    // Its log, a line per transition of a job, is written all the same.
    quiet: true,
    environment: {
      NODE_ENV: "production",
      HOST: "127.0.0.1",
      PORT: `${port}`,
      COATCHECK_STORE: `sqlite:${databaseIn(dataDir)}`,
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
  return { url, pid: server.pid, completed: () => countCompleted(dataDir), stop: () => server.stop() };
}

/**
 * A new data directory below `directory` whose store holds `jobs` queued jobs of `empty`. The first of a size is filled
 * (in a process of its own), the others are copies.
 */
export async function storeOf(jobs: number, directory: string): Promise<string> {
  const template = join(directory, `template-${jobs}`);
  if (!existsSync(template)) {
    await mkdir(template);
    if (jobs > 0) await runInChild("./ours.ts", "fillStore", template, jobs);
  }
  const copy = await mkdtemp(join(directory, "data-"));
  await cp(template, copy, { recursive: true });
  return copy;
}

/** Fills the store in `dataDir` with `jobs` queued jobs of `empty`, each with a random key. */
export async function fillStore(dataDir: string, jobs: number): Promise<void> {
  const { openSqlite } =
    await built<typeof import("../src/store/sqlite/sqlite.ts")>("store/sqlite/sqlite.js");
  const store = await openSqlite({ file: databaseIn(dataDir) });
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
 * In process, on the store in `dataDir`, which holds `jobs` queued jobs: settles all of them, a hundred at once, by a
 * handler that does nothing. Gives jobs per second, from the first claim to the last durable settle.
 */
export async function drainOurs(dataDir: string, jobs: number): Promise<number> {
  return await work(dataDir, jobs, Number.POSITIVE_INFINITY);
}

/** In process, on the store in `dataDir`: claims and settles for five seconds. Gives claims per second. */
export async function claimOurs(dataDir: string): Promise<number> {
  return await work(dataDir, Number.POSITIVE_INFINITY, 5_000);
}

async function work(dataDir: string, jobs: number, mostMs: number): Promise<number> {
  const { coatcheck } = await built<typeof import("../src/server/desk.ts")>("server/desk.js");
  const empty = await emptyOperation();
  const desk = coatcheck({ operations: [empty], store: `sqlite:${databaseIn(dataDir)}`, log: false });
  desk.handle(empty, () => ({}), { concurrency: 100 });
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
  return perSecond;
}

/** How many jobs the server has completed, read from its database beside it. */
async function countCompleted(dataDir: string): Promise<number> {
  const database = new Database(databaseIn(dataDir), { readonly: true });
  try {
    return database.prepare("SELECT count(*) FROM jobs WHERE status = 'completed'").pluck().get() as number;
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

function databaseIn(dataDir: string): string {
  return join(dataDir, "coatcheck.db");
}

/** The server's configuration: one operation, limits on but never reached. */
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
  operations: [${work ? "{ operation: empty, handler: async () => ({}), concurrency: 100 }" : "{ operation: empty }"}],
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
