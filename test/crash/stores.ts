// Where the crash tests keep jobs: a line a store, and what it takes to break what is under it.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Redis } from "ioredis";
import { provideMortalPostgres } from "../mortal-postgres.ts";
import { freePort, startTied, type TiedProcess } from "../process.ts";
import { provideBinary } from "../servers.ts";
import { CREATE_POINTS, type Point } from "./plan.ts";
import { openTap, type Tap, type Wire } from "./tap.ts";
import { POSTGRES_WIRE, REDIS_WIRE } from "./wires.ts";

export type StoreName = keyof typeof STORES;

/** A store that is made to be broken. */
export interface Ground {
  /** A way for one process to the store. Behind a socket each has a proxy of its own, so that a fault can hit one alone. */
  way(): Promise<Way>;
  /** The server behind the socket; null where the processes themselves are all there is. */
  readonly engine: Engine | null;
  /** Named points on the way to a store that is there. */
  readonly createPoints: readonly Point[];
  close(): Promise<void>;
}

export interface Way {
  /** The store's URL. */
  readonly url: string;
  readonly tap: Tap | null;
  close(): Promise<void>;
}

/** A server that keeps its data and its address from one start to the next. */
export interface Engine {
  readonly url: string;
  /** SIGKILL to all of it; resolves once it is gone. */
  kill(): Promise<void>;
  /** Resolves once it answers. */
  start(): Promise<void>;
  /** Kills it and removes its data. */
  stop(): Promise<void>;
}

export const STORES = {
  sqlite: openFile,
  postgres: async () => openSocket(await provideMortalPostgres(), POSTGRES_WIRE),
  redis: async (folder: string) => openSocket(await provideMortalRedis(join(folder, "redis")), REDIS_WIRE),
} satisfies Record<string, (folder: string) => Promise<Ground>>;

async function openFile(folder: string): Promise<Ground> {
  const url = `sqlite:${join(folder, "coatcheck.db")}`;
  return {
    way: async () => ({ url, tap: null, close: async () => {} }),
    engine: null,
    createPoints: CREATE_POINTS,
    close: async () => {},
  };
}

async function openSocket(engine: Engine, wire: Wire): Promise<Ground> {
  await engine.start();
  return {
    async way() {
      const url = new URL(engine.url);
      const tap = await openTap(Number(url.port), wire);
      url.port = String(tap.proxy.port);
      return { url: url.href, tap, close: () => tap.proxy.close() };
    },
    engine,
    createPoints: [],
    close: () => engine.stop(),
  };
}

/** A Redis whose data outlive a kill: each write is on its disk before it is answered. */
async function provideMortalRedis(directory: string): Promise<Engine> {
  const binary = await provideBinary("redis-server", "redis-server");
  const port = await freePort();
  const url = `redis://127.0.0.1:${port}`;
  await mkdir(directory);
  let server: TiedProcess | null = null;
  const kill = async () => {
    await server?.stop();
    server = null;
  };
  return {
    url,
    kill,
    async start() {
      server = startTied([
        ...[binary, "--port", String(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""],
        ...["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"],
      ]);
      let over: string | null = null;
      void server.ended.then(({ output }) => (over = output.slice(-1000)));
      while (!(await answersPing(url)))
        if (over !== null) throw new Error(`Redis ended at its start: ${over}`);
    },
    stop: kill,
  };
}

/** Whether it is there and has loaded its data. */
async function answersPing(url: string): Promise<boolean> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: null, enableOfflineQueue: true });
  client.on("error", () => {});
  try {
    await client.connect();
    return (await client.ping()) === "PONG";
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return false;
  } finally {
    client.disconnect();
  }
}
