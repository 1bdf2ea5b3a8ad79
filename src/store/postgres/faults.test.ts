// What goes wrong around the store in PostgreSQL, with real servers, a pooler, and a proxy that loses what it is told to lose.

import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { provideMortalPostgres } from "../../../test/mortal-postgres.ts";
import { freePort, startTied } from "../../../test/process.ts";
import { openProxy, type ProxyOptions, type TcpProxy } from "../../../test/proxy.ts";
import { type ProvidedServer, provideBinary, providePostgres } from "../../../test/servers.ts";
import { Desk } from "../../testing/store/desk.ts";
import { createClock } from "../clock.ts";
import { type Store, StoreUnavailable, StoreUnusable } from "../store.ts";
import { openPostgres, type PostgresOptions } from "./postgres.ts";

let server: ProvidedServer;
let admin: pg.Client;
const undone: (() => unknown)[] = [];

beforeAll(async () => {
  server = await providePostgres({ own: true });
  admin = new pg.Client({ connectionString: server.url });
  await admin.connect();
});

afterEach(async () => {
  for (const undo of undone.splice(0).reverse()) await undo();
});

afterAll(async () => {
  await admin?.end();
  await server?.stop();
});

test("a server that loses commits at a power cut is refused by the name of the setting, and is class process", async () => {
  for (const setting of ["fsync", "full_page_writes", "synchronous_commit"]) {
    await set(setting, "off");
    const refused = open();
    await expect(refused).rejects.toBeInstanceOf(StoreUnusable);
    await expect(refused).rejects.toThrow(new RegExp(`has ${setting} = off, .*: set it to on`));
    expect((await open({ durability: "process" })).durability).toBe("process");
    await set(setting, null);
  }
  expect((await open()).durability).toBe("power");
});

test("what is wrong with the way to the server is said in one sentence", async () => {
  await admin.query("CREATE ROLE guest LOGIN; CREATE ROLE barred NOLOGIN");
  const to = (change: (url: URL) => void) => {
    const url = new URL(server.url);
    change(url);
    return url.href;
  };
  const nobody = await freePort();
  const wrong: readonly (readonly [
    url: string,
    kind: typeof StoreUnusable | typeof StoreUnavailable,
    says: RegExp,
  ])[] = [
    [to((url) => (url.pathname = "/nowhere")), StoreUnusable, /nowhere: there is no such database/],
    [to((url) => (url.username = "barred")), StoreUnusable, /the user or the password is wrong/],
    [to((url) => (url.username = "guest")), StoreUnusable, /the user lacks a permission/],
    [to((url) => (url.port = String(nobody))), StoreUnavailable, /can't be reached/],
    ["nonsense", StoreUnusable, /The URL of a store in PostgreSQL/],
  ];
  for (const [url, kind, says] of wrong) {
    const refused: unknown = await openPostgres({ url, schema: name() }).catch((error: unknown) => error);
    expect(refused, url).toBeInstanceOf(kind);
    expect((refused as Error).message).toMatch(says);
    expect((refused as Error).message).not.toContain("\n");
  }
});

test("who was given a schema needs no other right", async () => {
  const schema = name();
  await admin.query(`CREATE ROLE tenant LOGIN; CREATE SCHEMA ${schema} AUTHORIZATION tenant`);
  const store = await open({ schema, url: server.url.replace("postgres@", "tenant@") });
  expect(await deskOf(store).submit()).toMatchObject({ did: "submit" });
});

test("of eight servers that start at once on an empty database one makes the tables", async () => {
  const schema = name();
  const stores = await Promise.all(Array.from({ length: 8 }, () => open({ schema })));
  const secrets = await Promise.all(stores.map((store) => store.read({ get: "secret" })));
  expect(new Set(secrets).size).toBe(1);
  const { rows } = await admin.query(`SELECT number FROM ${schema}.version`);
  expect(rows).toEqual([{ number: 1 }]);
});

test("who dies while it makes the tables leaves nothing, and the next one makes them", async () => {
  const schema = name();
  const { url } = await through({
    hear: (text) => (text.includes("CREATE TABLE policy") ? "lose reply" : "pass"),
  });
  await expect(open({ schema, url })).rejects.toBeInstanceOf(StoreUnavailable);
  const { rows } = await admin.query(`SELECT to_regnamespace('${schema}') AS there`);
  expect(rows).toEqual([{ there: null }]);
  expect(await deskOf(await open({ schema })).submit()).toMatchObject({ did: "submit" });
});

test("tables of a newer version are used where it says that they can be, and else refused", async () => {
  const schema = name();
  await open({ schema });
  await admin.query(`INSERT INTO ${schema}.version VALUES (900, 1)`);
  expect(await deskOf(await open({ schema })).submit()).toMatchObject({ did: "submit" });
  await admin.query(`INSERT INTO ${schema}.version VALUES (901, 901)`);
  await expect(open({ schema })).rejects.toThrow(/made by a newer Coatcheck \(version 901\)/);
});

test("kill -9 of the server under load loses nothing that was acknowledged, and all goes on by itself", async () => {
  const own = await provideMortalPostgres();
  undone.push(() => own.stop());
  await own.start();
  const store = await open({ url: own.url });
  const desk = deskOf(store);
  const kept: Awaited<ReturnType<typeof desk.job>>[] = [];
  const settled: number[] = [];
  let isOver = false;
  let slowestMs = 0;
  const callers = Array.from({ length: 20 }, async (_, caller) => {
    for (let n = 0; !isOver; n++) {
      const begun = performance.now();
      const written = await desk.submit({ key: `${caller} ${n}` }).catch((error: unknown) => error);
      slowestMs = Math.max(slowestMs, performance.now() - begun);
      if (written instanceof StoreUnavailable) await new Promise((resolve) => setTimeout(resolve, 5));
      else {
        expect(written).toMatchObject({ did: "submit", replayed: false });
        kept.push((written as Awaited<ReturnType<typeof desk.accept>>).job);
      }
    }
  });
  const worker = (async () => {
    while (!isOver) {
      const claimed = await desk.claim({ limit: 20, waitMs: 1000 }).catch(() => ({ jobs: [] }));
      for (const job of claimed.jobs) {
        const written = await desk.settle(job).catch(() => null);
        if (written !== null && "did" in written) settled.push(job.row);
      }
    }
  })();
  for (let round = 1; round <= 2; round++) {
    const [accepted, done] = [kept.length + 100, settled.length + 20];
    await vi.waitFor(
      () => {
        expect(kept.length).toBeGreaterThan(accepted);
        expect(settled.length).toBeGreaterThan(done);
      },
      { timeout: 20_000 },
    );
    await own.kill();
    const refused = await desk.submit().catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(StoreUnavailable);
    await own.start();
  }
  isOver = true;
  await Promise.all([...callers, worker]);
  for (const job of kept) expect(await desk.see(job)).not.toBeNull();
  const rows = await store.read({ get: "rows", rows: settled });
  expect(rows.map(({ job }) => job.status)).toEqual(settled.map(() => "completed"));
  const events = await store.read({ get: "events", after: 0, limit: 1_000_000 });
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  await desk.hearAll();
  expect(desk.heard).toEqual(events);
  const { jobs } = await store.read({ get: "counts" });
  expect(events.filter(({ kind }) => kind === "queued")).toHaveLength(jobs);
  expect(slowestMs).toBeLessThan(20_000);
}, 60_000);

test("what was committed is answered as it went, also when the answer is lost", async () => {
  let loses: RegExp | null = null;
  const { url } = await through({
    hear: (text) => {
      if (loses === null || !loses.test(text)) return "pass";
      loses = null;
      return "lose reply";
    },
  });
  const desk = deskOf(await open({ url }));
  const lossy = async <T>(when: RegExp, run: () => Promise<T>): Promise<T> => {
    loses = when;
    const done = await run();
    expect(loses).toBeNull();
    return done;
  };
  const twins = await lossy(/INSERT INTO request[\s\S]*COMMIT/, () =>
    Promise.all([
      desk.submit({ key: "a" }),
      desk.submit({ key: "a" }),
      desk.submit({ limits: { active: 0 } }),
    ]),
  );
  expect(twins).toMatchObject([
    { did: "submit", replayed: false, position: 1 },
    { did: "submit", replayed: true },
    { refused: "over-quota" },
  ]);
  const { jobs } = await lossy(/UPDATE job[\s\S]*COMMIT/, () => desk.claim());
  expect(jobs).toHaveLength(1);
  const [job] = jobs as [(typeof jobs)[0]];
  expect(await lossy(/UPDATE job[\s\S]*COMMIT/, () => desk.settle(job))).toMatchObject({
    status: "completed",
  });
  await desk.hearAll();
  expect(desk.heard.map(({ kind }) => kind)).toEqual(["queued", "started", "completed"]);
});

test("what never arrived at the server had no effect, and is not said to have had one", async () => {
  let loses = true;
  const { url } = await through({
    hear: (text) => (loses && /INSERT INTO request[\s\S]*COMMIT/.test(text) ? "lose" : "pass"),
  });
  const desk = deskOf(await open({ url }));
  await expect(desk.submit({ key: "a" })).rejects.toBeInstanceOf(StoreUnavailable);
  loses = false;
  expect(await desk.submit({ key: "a" })).toMatchObject({ did: "submit", replayed: false });
});

test("a connection that hears nothing any more is given up, and holds up nobody else for long", async () => {
  const schema = name();
  let hushes = true;
  const { url, proxy } = await through({
    hear: (text) => {
      if (hushes && text.includes("INSERT INTO request")) proxy.hush();
      return "pass";
    },
  });
  const [half, other] = [deskOf(await open({ url, schema })), deskOf(await open({ schema }))];
  const lost = half.submit({ owner: "one" }).catch((error: unknown) => error);
  await vi.waitFor(() => expect(proxy.isHushed).toBe(true));
  // Its owner is locked by a process that says nothing more.
  expect(await other.submit({ owner: "one" }).catch(() => other.submit({ owner: "one" }))).toMatchObject({
    did: "submit",
  });
  hushes = false;
  proxy.mend();
  await lost;
  expect(await half.submit({ owner: "one" })).toMatchObject({ did: "submit" });
  await half.until(() => expect(half.heard.length).toBeGreaterThan(1));
}, 60_000);

test("a server that became read-only refuses writes as unavailable, still answers, and is used again by itself", async () => {
  const desk = deskOf(await open());
  const job = await desk.job();
  await set("default_transaction_read_only", "on");
  await desk.until(() => expect(desk.submit()).rejects.toBeInstanceOf(StoreUnavailable));
  await expect(desk.submit()).rejects.toThrow(/read-only/);
  expect(await desk.get(job)).toMatchObject({ status: "queued" });
  await set("default_transaction_read_only", null);
  await desk.until(async () => expect(await desk.submit()).toMatchObject({ did: "submit" }));
});

test("another default isolation of the server changes nothing", async () => {
  await set("default_transaction_isolation", "serializable");
  const schema = name();
  const desks = (await Promise.all([open({ schema }), open({ schema })])).map(deskOf);
  const written = await Promise.all(
    Array.from({ length: 40 }, (_, n) => desks[n % 2]?.submit({ owner: "one", limits: { active: 30 } })),
  );
  expect(written.filter((one) => one !== undefined && "did" in one)).toHaveLength(30);
  await set("default_transaction_isolation", null);
});

test("a write that the server can't digest fails alone, and what it came with is done", async () => {
  const desk = deskOf(await open());
  const bad = desk.submit({ policy: { priority: 2 ** 40 } }).catch((error: unknown) => error);
  const good = await Promise.all([
    desk.submit(),
    desk.write({ do: "keep", name: "a/b", value: "c" }),
    desk.submit(),
  ]);
  expect(good).toMatchObject([{ did: "submit" }, { did: "nothing" }, { did: "submit" }]);
  expect(await bad).toBeInstanceOf(Error);
  expect(await desk.store.read({ get: "counts" })).toMatchObject({ jobs: 2 });
});

test("through a pooler that gives out connections by the transaction everything goes on", async () => {
  const desk = deskOf(await open({ url: await startPooler(), pooler: true }));
  const beside = deskOf(await open({ schema: schemaOf(desk.store), pooler: false }));
  const jobs = await desk.jobs(50);
  const waiting = beside.claim({ operation: "later", waitMs: 10_000 });
  const claimed = await desk.claim({ held: true });
  expect(claimed.jobs).toHaveLength(50);
  await Promise.all(claimed.jobs.map((job) => desk.settle(job)));
  await desk.job({ operation: "later" });
  expect((await waiting).jobs).toHaveLength(1);
  await beside.cancel((await waiting).jobs[0] as (typeof jobs)[0]);
  await desk.until(() => expect(desk.heard.at(-1)).toMatchObject({ kind: "cancel-requested" }));
  expect(await desk.get(jobs[0] as (typeof jobs)[0])).toMatchObject({ status: "completed" });
});

const schemas = new WeakMap<Store, string>();

function schemaOf(store: Store): string {
  return schemas.get(store) ?? "";
}

function name(): string {
  return `faults_${randomBytes(6).toString("hex")}`;
}

async function open(more: Partial<PostgresOptions> = {}): Promise<Store> {
  const schema = more.schema ?? name();
  const store = await openPostgres({ url: server.url, ...more, schema });
  schemas.set(store, schema);
  undone.push(() => store.close());
  return store;
}

function deskOf(store: Store): Desk {
  const desk = new Desk(store, createClock(), undefined);
  undone.push(() => desk.end());
  return desk;
}

// Settings take effect in connections that are there a moment later.
async function set(setting: string, value: string | null): Promise<void> {
  await admin.query(`ALTER SYSTEM ${value === null ? `RESET ${setting}` : `SET ${setting} = '${value}'`}`);
  await admin.query("SELECT pg_reload_conf()");
  await vi.waitFor(async () => {
    const { rows } = await admin.query(`SELECT setting, boot_val FROM pg_settings WHERE name = '${setting}'`);
    expect(rows[0].setting).toBe(value ?? rows[0].boot_val);
  });
}

async function through(how: {
  readonly hear: (text: string) => ReturnType<NonNullable<ProxyOptions["hear"]>>;
}): Promise<{ readonly url: string; readonly proxy: TcpProxy & { readonly isHushed: boolean } }> {
  const url = new URL(server.url);
  const proxy = await openProxy({
    port: Number(url.port),
    // A message is a letter and its length; only what opens a connection has no letter.
    measure: (bytes) => {
      const at = bytes[0] === 0 ? 0 : 1;
      const length = bytes.length < at + 4 ? Number.POSITIVE_INFINITY : at + bytes.readUInt32BE(at);
      return bytes.length < length ? 0 : length;
    },
    hear: (message) => how.hear(message.toString("latin1")),
  });
  undone.push(() => proxy.close());
  url.port = String(proxy.port);
  let isHushed = false;
  return {
    url: url.href,
    proxy: {
      ...proxy,
      get isHushed() {
        return isHushed;
      },
      hush() {
        isHushed = true;
        proxy.hush();
      },
    },
  };
}

async function startPooler(): Promise<string> {
  const binary = await provideBinary("pgbouncer", "pgbouncer");
  const directory = await mkdtemp(join(tmpdir(), "coatcheck-pgbouncer-"));
  await chmod(directory, 0o755);
  const [port, { hostname, port: behind }] = [await freePort(), new URL(server.url)];
  const settings = [
    "[databases]",
    `postgres = host=${hostname} port=${behind} user=postgres`,
    "[pgbouncer]",
    ...["listen_addr = 127.0.0.1", `listen_port = ${port}`, "unix_socket_dir =", "auth_type = any"],
    ...["pool_mode = transaction", "default_pool_size = 3", "max_client_conn = 100"],
  ];
  await writeFile(join(directory, "pgbouncer.ini"), settings.join("\n"));
  // It refuses to run as root.
  const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  const pooler = startTied([binary, ...user, join(directory, "pgbouncer.ini")], { quiet: true });
  undone.push(() => rm(directory, { recursive: true, force: true }));
  undone.push(() => pooler.stop());
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  await vi.waitFor(
    async () => {
      const client = new pg.Client({ connectionString: url });
      client.on("error", () => {});
      await client.connect();
      await client.end();
    },
    { timeout: 10_000 },
  );
  return url;
}
