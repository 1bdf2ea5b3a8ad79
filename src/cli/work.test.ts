// Many processes on one store: servers that only serve, workers that only work, and what becomes of jobs when one goes.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { providePostgres, provideRedis } from "../../test/servers.ts";

/** Where all the processes keep their jobs: for each test an empty store, and how it is let go of. */
interface Ground {
  readonly url: string;
  close(): Promise<void>;
}

const GROUNDS: Readonly<Record<string, (directory: string) => Promise<Ground>>> = {
  sqlite: async (directory) => ({ url: `sqlite:${join(directory, "jobs.db")}`, close: async () => {} }),
  postgres: async () => {
    const { url, stop } = await providePostgres();
    return { url: `${url}?schema=work_${process.pid}`, close: stop };
  },
  redis: async () => {
    const { url, stop } = await provideRedis({ appendonly: true, own: true });
    return { url: `${url}?prefix=jobs`, close: stop };
  },
};

const path = (file: string) => fileURLToPath(new URL(file, import.meta.url));
const NODE = ["--import", path("../../scripts/typescript.js"), path("./main.ts")];
const CORE = new URL("../core/operation.ts", import.meta.url).href;

// The handlers tell in which process they are, and end by their signal, at their second attempt, or not at all.
const CONFIG = `import { defineOperation } from ${JSON.stringify(CORE)};
const input = { type: "object", properties: { stay: { type: "boolean" } } };
const define = (name, lease) => defineOperation({ name, input, lease, grace: "1h", retry: { attempts: 1 } });
const handler = ({ stay }, attempt) => new Promise((resolve, reject) => {
  attempt.progress(1, String(process.pid));
  if (attempt.number > 1 && !stay) return resolve({ pid: process.pid, attempt: attempt.number });
  if (attempt.signal !== undefined && stay !== true)
    attempt.signal.addEventListener("abort", () => reject(attempt.signal.reason));
});
export default {
  operations: [
    { operation: define("brief", "1s"), handler },
    { operation: define("patient", "1h"), handler },
  ],
  shutdownGrace: "1h",
};`;

interface Status {
  readonly id: string;
  readonly status: string;
  readonly attempt: number;
  readonly message: string | null;
}

describe.each(Object.entries(GROUNDS))("several processes on one store: %s", (_name, open) => {
  let directory: string;
  let ground: Ground;
  let one: Awaited<ReturnType<typeof start>>;
  let other: Awaited<ReturnType<typeof start>>;
  const servers = new Set<ChildProcess>();
  const workers = new Set<ChildProcess>();

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "coatcheck-work-"));
    await writeFile(join(directory, "coatcheck.config.mjs"), CONFIG);
    ground = await open(directory);
    const serve = () => start(servers, "serve", "--port", "0", "--no-work");
    [one, other] = await Promise.all([serve(), serve()]);
  });

  afterEach(() => kill(workers));

  afterAll(async () => {
    await kill(servers);
    await ground.close();
    await rm(directory, { recursive: true });
  });

  async function kill(children: ReadonlySet<ChildProcess>): Promise<void> {
    const ended = [...children].map((child) => once(child, "close"));
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(ended);
  }

  /** Starts a command; resolves once it says that it is ready, or working. */
  async function start(running: Set<ChildProcess>, ...words: readonly string[]) {
    const child = spawn(process.execPath, [...NODE, ...words], {
      cwd: directory,
      env: {
        PATH: process.env.PATH,
        NODE_NO_WARNINGS: "1",
        COATCHECK_STORE: ground.url,
        COATCHECK_LIMITS: "off",
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.add(child);
    let output = "";
    const ended = once(child, "close").then(([code]) => {
      running.delete(child);
      return { code: code as number | null, output };
    });
    const said = new Promise<string>((resolve, reject) => {
      const hear = (text: string) => {
        output += text;
        const line = output.split("\n").find((each) => /"msg":"(?:ready|working)"\}$/.test(each));
        if (line !== undefined) resolve((JSON.parse(line) as { readonly url?: string }).url ?? "");
      };
      child.stdout.setEncoding("utf8").on("data", hear);
      child.stderr.setEncoding("utf8").on("data", hear);
      void ended.then((end) => reject(new Error(end.output)));
    });
    const url = await said;
    return { child, pid: child.pid as number, ended, url, output: () => output };
  }

  const work = (...words: readonly string[]) => start(workers, "work", ...words);

  async function submit(operation: string, input: object = {}) {
    const answer = await fetch(`${one.url}/operations/${operation}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(input),
    });
    expect(answer.status).toBe(202);
    return new URL(answer.headers.get("location") ?? "").pathname;
  }
  const look = async (server: { readonly url: string }, job: string) =>
    (await (await fetch(`${server.url}${job}?redirect=false`)).json()) as Status;
  /** The process that works the job's attempt, once it does. */
  const workerOf = async (job: string) => {
    await expect.poll(async () => (await look(other, job)).message, { timeout: 20_000 }).not.toBeNull();
    return Number((await look(other, job)).message);
  };
  const resultOf = async (job: string) => {
    const answer = await fetch(`${other.url}${job}`, { headers: { prefer: "wait=30" } });
    expect(answer.redirected).toBe(true);
    return (await answer.json()) as { readonly pid: number; readonly attempt: number };
  };

  test("a server says at its start what those that share a database have to agree on", () => {
    const said = ["the URLs of jobs name this server alone", "all servers and workers need the same one"];
    const isShared = !ground.url.startsWith("sqlite:");
    for (const sentence of said) expect(one.output().includes(sentence), sentence).toBe(isShared);
    expect(one.output()).toContain("this server only serves");
  });

  test("a job waits where none works, is seen on every server, and runs again elsewhere when its worker is killed", async () => {
    const job = await submit("brief");
    expect(await look(other, job)).toMatchObject({ status: "queued", attempt: 0 });
    const both = await Promise.all([work(), work()]);
    const pid = await workerOf(job);
    const [killed, left] = both[0].pid === pid ? both : [both[1], both[0]];
    expect(killed.pid).toBe(pid);
    killed.child.kill("SIGKILL");
    expect(await resultOf(job)).toEqual({ pid: left.pid, attempt: 2 });
  });

  test("a worker that is told to stop gives back what it has not finished, and ends with 0", async () => {
    const worker = await work("--concurrency", "1");
    const [job, waiting] = [await submit("patient"), await submit("patient")];
    expect(await workerOf(job)).toBe(worker.pid);
    expect(await look(other, waiting)).toMatchObject({ status: "queued", attempt: 0 });
    worker.child.kill("SIGTERM");
    expect((await worker.ended).code).toBe(0);
    // One attempt may fail, and the lease is an hour: so it was given back, and counts as nothing.
    expect(await look(other, job)).toMatchObject({ status: "queued", attempt: 1 });
    const next = await work();
    expect(await resultOf(job)).toEqual({ pid: next.pid, attempt: 2 });
  });

  test("a cancel on one server reaches the handler that runs in a worker", async () => {
    const worker = await work();
    const job = await submit("brief");
    expect(await workerOf(job)).toBe(worker.pid);
    expect((await fetch(`${other.url}${job}`, { method: "DELETE" })).status).toBe(202);
    // Its grace is an hour: only the handler's own end makes it one now.
    await expect.poll(async () => (await look(one, job)).status, { timeout: 20_000 }).toBe("canceled");
  });

  test("a worker that is told twice ends at once; its health says meanwhile that it is going", async () => {
    const worker = await work("--health-port", "0");
    const job = await submit("brief", { stay: true });
    expect(await workerOf(job)).toBe(worker.pid);
    const ready = async () => (await fetch(`${worker.url}/health/ready`)).status;
    expect([await ready(), (await fetch(`${worker.url}/health/live`)).status]).toEqual([200, 200]);
    expect((await fetch(`${worker.url}/jobs`)).status).toBe(404);
    worker.child.kill("SIGTERM");
    await expect.poll(ready, { timeout: 20_000 }).toBe(503);
    worker.child.kill("SIGTERM");
    expect((await worker.ended).code).toBe(1);
  });
});
