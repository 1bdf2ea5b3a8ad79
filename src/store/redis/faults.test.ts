// What goes wrong around the store in Redis, with real servers, a real cluster, and a proxy that loses what it is told to lose.

import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freePort, startTied, type TiedProcess } from "../../../test/process.ts";
import { openProxy } from "../../../test/proxy.ts";
import { provideBinary } from "../../../test/servers.ts";
import type { Policy } from "../../core/job.ts";
import type { ClaimWrite, Store, SubmitWrite } from "../store.ts";
import { StoreUnavailable } from "../store.ts";
import { openRedis } from "./redis.ts";

const ALWAYS = ["--appendonly", "yes", "--appendfsync", "always"];

let server: Server;
let admin: Redis;

beforeAll(async () => {
  server = await startServer();
  admin = new Redis(server.url);
}, 60_000);

afterAll(async () => {
  admin?.disconnect();
  await server?.remove();
});

test("a server that evicts jobs is refused by the name of the setting", async () => {
  await admin.config("SET", "maxmemory-policy", "allkeys-lru");
  await expect(open()).rejects.toThrow(/maxmemory-policy to noeviction \(it is allkeys-lru\)/);
  await admin.config("SET", "maxmemory-policy", "noeviction");
  await (await open()).close();
});

test("a server that syncs each second is refused for class power, and is class process", async () => {
  await admin.config("SET", "appendfsync", "everysec");
  await expect(open()).rejects.toThrow(/appendfsync to always \(it is everysec\)/);
  const store = await open({ durability: "process" });
  expect(store.durability).toBe("process");
  await store.close();
  await admin.config("SET", "appendfsync", "always");
  const power = await open();
  expect(power.durability).toBe("power");
  await power.close();
});

test("a server that keeps no log is refused, whatever class is asked for", async () => {
  await admin.config("SET", "appendonly", "no");
  for (const durability of ["power", "process"] as const)
    await expect(open({ durability })).rejects.toThrow(/appendonly to yes/);
  await admin.config("SET", "appendonly", "yes");
});

test("a replica is refused, and so is a server that is not there", async () => {
  await admin.replicaof("127.0.0.1", String(await freePort()));
  await expect(open()).rejects.toThrow(/replica/);
  await admin.replicaof("NO", "ONE");
  const nobody = openRedis({ url: `redis://127.0.0.1:${await freePort()}` });
  await expect(nobody).rejects.toBeInstanceOf(StoreUnavailable);
}, 20_000);

test("kill -9 of the server under load loses nothing that was acknowledged, and doubles nothing", async () => {
  const own = await startServer();
  const prefix = namespace();
  const store = await openRedis({ url: own.url, prefix });
  const kept: string[] = [];
  let asked = 0;
  let isOver = false;
  const callers = Array.from({ length: 20 }, async () => {
    while (!isOver) {
      const write = submitting({ key: `key ${asked++}` });
      const written = await store.write(write).catch((error: unknown) => error);
      if (written instanceof StoreUnavailable) continue;
      expect(written).toMatchObject({ did: "submit" });
      kept.push(write.submission.id);
    }
  });
  const settled: number[] = [];
  const worker = (async () => {
    while (!isOver) {
      const claimed = await store.write(claiming({ limit: 20 })).catch(() => null);
      if (claimed === null || !("jobs" in claimed)) continue;
      for (const job of claimed.jobs) {
        const written = await store.write(completing(job)).catch(() => null);
        if (written !== null && "did" in written) settled.push(job.row);
      }
    }
  })();
  for (let round = 1; round <= 3; round++) {
    const enough = kept.length + 200;
    await vi.waitFor(() => expect(kept.length).toBeGreaterThan(enough), { timeout: 20_000 });
    await own.kill();
    await own.start();
  }
  isOver = true;
  await Promise.all([...callers, worker]);
  for (const id of kept) {
    expect(await store.read({ get: "job", address: addressOf(id) })).not.toBeNull();
  }
  const rows = await store.read({ get: "rows", rows: settled });
  expect(rows.map(({ job }) => job.status)).toEqual(settled.map(() => "completed"));
  expect(new Set(settled).size).toBe(settled.length);
  const { jobs } = await store.read({ get: "counts" });
  expect(jobs).toBeGreaterThanOrEqual(kept.length);
  expect(jobs).toBeLessThanOrEqual(asked);
  const events = await store.read({ get: "events", after: 0, limit: 1_000_000 });
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  expect(events.filter(({ kind }) => kind === "queued")).toHaveLength(jobs);
  await store.close();
  await own.remove();
}, 60_000);

test("a write whose answer was lost is done once, and answered as what it did", async () => {
  let loses = false;
  const proxy = await openProxy({
    port: server.port,
    hear: (message) => {
      // Scripts that write say who calls, in which lane.
      const isNumbered = /\$8\r\n[\w-]{8}\r\n\$1\r\n\d\r\n/.test(message.toString("latin1"));
      if (!loses || !isNumbered) return "pass";
      loses = false;
      return "lose reply";
    },
  });
  const prefix = namespace();
  const store = await openRedis({ url: `redis://127.0.0.1:${proxy.port}`, prefix });
  const lossy = async <T>(run: () => Promise<T>): Promise<T> => {
    loses = true;
    const done = await run();
    expect(loses).toBe(false);
    return done;
  };
  const twin = submitting({ key: "one key" });
  const written = await lossy(() =>
    Promise.all([
      store.write(twin),
      store.write(submitting({ key: "one key" })),
      store.write(submitting({ active: 0 })),
      store.write(submitting({})),
    ]),
  );
  expect(written).toMatchObject([
    { did: "submit", replayed: false },
    { did: "submit", replayed: true, job: { id: twin.submission.id } },
    { refused: "over-quota" },
    { did: "submit", replayed: false },
  ]);
  expect((await store.read({ get: "counts" })).jobs).toBe(2);
  const claimed = await lossy(() => store.write(claiming({ limit: 2 })));
  expect(claimed).toMatchObject({ did: "claim", jobs: [{ attempt: 1 }, { attempt: 1 }] });
  const [first, second] = "jobs" in claimed ? claimed.jobs : [];
  if (first === undefined || second === undefined) throw new Error("Nothing was claimed.");
  const settled = await lossy(() =>
    Promise.all([store.write(completing(first)), store.write(completing(second))]),
  );
  expect(settled).toMatchObject([{ status: "completed" }, { status: "completed" }]);
  const events = await store.read({ get: "events", after: 0, limit: 100 });
  expect(events.map(({ seq, kind }) => [seq, kind])).toEqual(
    ["queued", "queued", "started", "started", "completed", "completed"].map((kind, index) => [
      index + 1,
      kind,
    ]),
  );
  await store.close();
  await proxy.close();
}, 30_000);

test("a connection that hears nothing any more is given up, and what was asked is answered by the next", async () => {
  const proxy = await openProxy({ port: server.port });
  const store = await openRedis({ url: `redis://127.0.0.1:${proxy.port}`, prefix: namespace() });
  await store.write(submitting({}));
  proxy.hush();
  const written = store.write(submitting({}));
  proxy.mend();
  expect(await written).toMatchObject({ did: "submit" });
  expect((await store.read({ get: "counts" })).jobs).toBe(2);
  await store.close();
  await proxy.close();
}, 30_000);

test("what a claim took and never began is taken by another", async () => {
  let isDead = false;
  const proxy = await openProxy({
    port: server.port,
    // A change from queued to processing, behind the token of the job's last write.
    hear: (message) => (isDead && /qp0\d+,1\r\n/.test(message.toString("latin1")) ? "lose" : "pass"),
  });
  const prefix = namespace();
  const dying = await openRedis({ url: `redis://127.0.0.1:${proxy.port}`, prefix });
  const store = await openRedis({ url: server.url, prefix });
  const { submission } = submitting({});
  await store.write(submitting({ id: submission.id, running: 1 }));
  isDead = true;
  const lost = dying.write(claiming({ worker: "dying" })).catch((error: unknown) => error);
  await vi.waitFor(async () => expect(await admin.zcard(`{${prefix}}:taken`)).toBe(1));
  const taken = await store.write(claiming({ worker: "heir", waitMs: 30_000 }));
  expect(taken).toMatchObject({ jobs: [{ id: submission.id, worker: "heir", attempt: 1 }] });
  expect(await lost).toBeInstanceOf(StoreUnavailable);
  await Promise.all([store.close(), dying.close()]);
  await proxy.close();
}, 40_000);

test("servers that race accept a key once, keep the quota exact, and begin no job twice", async () => {
  const prefix = namespace();
  const stores = await Promise.all(Array.from({ length: 4 }, () => openRedis({ url: server.url, prefix })));
  const each = <T>(run: (store: Store, index: number) => Promise<T>): Promise<T[]> =>
    Promise.all(Array.from({ length: 64 }, (_, index) => run(stores[index % 4] as Store, index)));
  const keyed = await each((store) => store.write(submitting({ key: "same" })));
  expect(new Set(keyed.map((one) => ("job" in one ? one.job?.id : null))).size).toBe(1);
  const limited = await each((store) => store.write(submitting({ owner: "limited", active: 7 })));
  expect(limited.filter((one) => "did" in one)).toHaveLength(7);
  await each((store, index) => store.write(submitting({ owner: `owner ${index}`, running: 1 })));
  const claims = await each((store, index) => store.write(claiming({ worker: `w${index}`, limit: 3 })));
  const rows = claims.flatMap((one) => ("jobs" in one ? one.jobs.map(({ row }) => row) : []));
  expect(new Set(rows).size).toBe(rows.length);
  expect(rows).toHaveLength(1 + 7 + 64);
  const attempts = claims.flatMap((one) => ("jobs" in one ? one.jobs : []));
  const settles = await Promise.all(
    attempts.flatMap((job) => stores.map((store) => store.write(completing(job)))),
  );
  expect(settles.filter((one) => "did" in one)).toHaveLength(attempts.length);
  await Promise.all(stores.map((store) => store.close()));
}, 30_000);

test("an owner's running limit is exact over all servers", async () => {
  const prefix = namespace();
  const stores = await Promise.all(Array.from({ length: 3 }, () => openRedis({ url: server.url, prefix })));
  const [first] = stores as [Store];
  await Promise.all(Array.from({ length: 40 }, () => first.write(submitting({ running: 4 }))));
  const running = new Set<number>();
  let done = 0;
  await Promise.all(
    stores.map(async (store, index) => {
      while (done < 40) {
        const claimed = await store.write(claiming({ worker: `w${index}`, limit: 3, waitMs: 200 }));
        if (!("jobs" in claimed)) throw new Error("A claim was refused.");
        for (const { row } of claimed.jobs) running.add(row);
        expect(running.size).toBeLessThanOrEqual(4);
        for (const job of claimed.jobs) {
          running.delete(job.row);
          await store.write(completing(job));
          done++;
        }
      }
    }),
  );
  await Promise.all(stores.map((store) => store.close()));
}, 30_000);

test("work goes on when the server forgets the scripts", async () => {
  const store = await open();
  for (let round = 0; round < 3; round++) {
    await admin.script("FLUSH");
    await store.write(submitting({}));
    await admin.script("FLUSH");
    const claimed = await store.write(claiming({ limit: 1 }));
    const [job] = "jobs" in claimed ? claimed.jobs : [];
    await admin.script("FLUSH");
    expect(await store.write(completing(job as never))).toMatchObject({ status: "completed" });
  }
  await store.close();
});

test("full memory refuses submits as unavailable, lets jobs end, and is over when there is room", async () => {
  const store = await open();
  await store.write(submitting({}));
  await store.write(submitting({ key: "known" }));
  await admin.config("SET", "maxmemory", "1");
  const refused = store.write(submitting({}));
  await expect(refused).rejects.toBeInstanceOf(StoreUnavailable);
  await expect(refused).rejects.toThrow(/maxmemory/);
  // A repeat needs no room.
  expect(await store.write(submitting({ key: "known" }))).toMatchObject({ replayed: true });
  const claimed = await store.write(claiming({ limit: 1 }));
  const [job] = "jobs" in claimed ? claimed.jobs : [];
  expect(await store.write(completing(job as never))).toMatchObject({ status: "completed" });
  expect(await store.write({ do: "sweep", limit: 10 })).toMatchObject({ did: "sweep" });
  expect((await store.read({ get: "counts" })).jobs).toBe(2);
  await admin.config("SET", "maxmemory", "0");
  expect(await store.write(submitting({}))).toMatchObject({ did: "submit" });
  await store.close();
});

test("in a cluster all keys of a store lie in one slot, and one node's URL is enough", async () => {
  const ports = await Promise.all(Array.from({ length: 3 }, () => freePort()));
  const nodes = await Promise.all(ports.map((port) => startServer(["--cluster-enabled", "yes"], port)));
  const clients = nodes.map(({ url }) => new Redis(url));
  const share = Math.ceil(16384 / 3);
  for (const [index, client] of clients.entries()) {
    const slots = Array.from(
      { length: Math.min(share, 16384 - index * share) },
      (_, slot) => index * share + slot,
    );
    await client.cluster("ADDSLOTS", ...slots);
    if (index > 0) await client.cluster("MEET", "127.0.0.1", String(ports[0]));
  }
  await vi.waitFor(
    async () => {
      for (const client of clients) expect(await client.cluster("INFO")).toContain("cluster_state:ok");
      for (const client of clients) expect(await client.cluster("INFO")).toContain("cluster_known_nodes:3");
    },
    { timeout: 30_000, interval: 50 },
  );
  const [prefix, all] = [namespace(), nodes.map(({ url }) => url.slice("redis://".length)).join(",")];
  for (const url of [(nodes[0] as Server).url, `redis://${all}`]) {
    const store = await openRedis({ url, prefix });
    const heard: string[] = [];
    store.listen((events) => heard.push(...events.map(({ kind }) => kind)));
    const other = await openRedis({ url, prefix });
    await other.write(submitting({ key: url, running: 1, delayMs: 0 }));
    const claimed = await store.write(claiming({ limit: 1, waitMs: 5000 }));
    const [job] = "jobs" in claimed ? claimed.jobs : [];
    await other.write(completing(job as never));
    await vi.waitFor(() => expect(heard).toEqual(["queued", "started", "completed"]));
    await Promise.all([store.close(), other.close()]);
  }
  const keys = (await Promise.all(clients.map((client) => client.keys("*")))).flat();
  expect(keys.every((key) => key.startsWith(`{${prefix}}:`))).toBe(true);
  expect(keys.length).toBeGreaterThan(5);
  for (const client of clients) client.disconnect();
  await Promise.all(nodes.map((node) => node.remove()));
}, 90_000);

interface Server {
  readonly url: string;
  readonly port: number;
  /** SIGKILL; its log stays. */
  kill(): Promise<void>;
  /** Starts it on the same log. */
  start(): Promise<void>;
  remove(): Promise<void>;
}

async function startServer(settings: readonly string[] = [], given?: number): Promise<Server> {
  const binary = await provideBinary("redis-server", "redis-server");
  const port = given ?? (await freePort());
  const directory = await mkdtemp(join(tmpdir(), "coatcheck-redis-faults-"));
  const place = ["--port", String(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""];
  const url = `redis://127.0.0.1:${port}`;
  let running: TiedProcess | null = null;
  const start = async () => {
    running = startTied([binary, ...place, ...ALWAYS, ...settings]);
    const client = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: null });
    client.on("error", () => {});
    await client.ping();
    client.disconnect();
  };
  const kill = async () => {
    if (running === null) return;
    process.kill(running.pid, "SIGKILL");
    await running.stop();
    running = null;
  };
  await start();
  const remove = async () => {
    await kill();
    await rm(directory, { recursive: true, force: true });
  };
  return { url, port, kill, start, remove };
}

function namespace(): string {
  return `test-${randomBytes(6).toString("hex")}`;
}

function open(more: { readonly durability?: "power" | "process" } = {}): Promise<Store> {
  return openRedis({ url: server.url, prefix: namespace(), ...more });
}

const POLICY: Policy = {
  maxAttempts: 3,
  backoff: { kind: "exponential", baseMs: 1000, maxMs: 60_000, jitter: 0 },
  timeoutMs: 3_600_000,
  leaseMs: 60_000,
  graceMs: 5000,
  retentionMs: 3_600_000,
  priority: 0,
  weight: 1,
  running: null,
  isolated: false,
};

interface Asked {
  readonly id?: string;
  readonly owner?: string;
  readonly key?: string;
  readonly active?: number;
  readonly running?: number;
  readonly delayMs?: number;
}

function submitting(asked: Asked): SubmitWrite {
  const { id = randomBytes(16).toString("hex"), owner = "owner", key, active = null, running = null } = asked;
  return {
    do: "submit",
    submission: {
      id,
      owner,
      operation: "work",
      policy: { ...POLICY, running },
      input: "{}",
      upload: null,
      trace: null,
      delayMs: asked.delayMs ?? 0,
      startWithinMs: null,
    },
    sameness: key === undefined ? null : { key: digest(key), fingerprint: digest("sent"), reach: "life" },
    address: addressOf(id),
    idFingerprint: null,
    limits: { active, operationBacklog: 1e9, backlog: 1e9 },
  };
}

function claiming(some: Partial<ClaimWrite>): ClaimWrite {
  return {
    do: "claim",
    worker: "worker",
    slots: { work: 100 },
    limit: 100,
    running: 0,
    held: false,
    ...some,
  };
}

function completing({ row, attempt }: { readonly row: number; readonly attempt: number }) {
  const outcome = { kind: "completed", result: { json: "{}" }, files: [] } as const;
  return { do: "settle", row, attempt, outcome } as const;
}

function addressOf(id: string): string {
  return digest(`address ${id}`);
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}
