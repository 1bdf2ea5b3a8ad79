// The way to the server: one connection that asks, in a cluster one to each node, and one that hears of commits.
//
// What was sent and not answered is not sent again by the driver but here, where it is known to be harmless: a script that writes
// has a number and is done once. A server that is silent for some seconds counts as gone: the connection may be half-open.

import { performance } from "node:perf_hooks";
import type { Cluster, Redis } from "ioredis";
import type { Moment } from "../../core/machine.ts";
import { type Clock, createClock } from "../clock.ts";
import { StoreUnavailable, StoreUnusable } from "../store.ts";
import type { Script } from "./script.ts";

type Driver = Pick<typeof import("ioredis"), "Cluster" | "Command" | "Redis">;

/** How long one sending may take; past it the connection is made anew. */
const ANSWER_MS = 3000;

/** How long a call goes on trying while the server is away: as long as a caller likes to wait for a 503. */
const PATIENCE_MS = 6000;

/** How often the feed is looked at without a word of it, for a word can be lost. */
const POLL_EVERY_MS = 1000;

const MEASURE_EVERY_MS = 60_000;

/** What passes by itself while a server starts or a replica takes over. */
const PASSING = /^(?:LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|BUSY|READONLY|MOVED|ASK|UNBLOCKED)\b/;

/** What lasts until somebody makes room or mends something, and nothing was written. */
const REFUSING: Readonly<Record<string, string>> = {
  OOM: "Redis has reached its maxmemory and takes no more jobs.",
  MISCONF: "Redis can't save to its disk and takes no writes.",
  NOREPLICAS: "Redis has too few replicas and takes no writes.",
  NOAUTH: "Redis asks for a password.",
  WRONGPASS: "Redis refuses the password.",
  NOPERM: "The user of Redis lacks a permission that is needed.",
};

export class Connection {
  readonly #client: Redis | Cluster;
  readonly #driver: Driver;
  readonly #clock: Clock;
  readonly #key: string;
  #subscriber: Redis | Cluster | null = null;
  #poll: NodeJS.Timeout | null = null;
  #measuring: NodeJS.Timeout;
  #isClosed = false;
  /** The server's time at a reading of the monotonic clock, and how far that may be off. */
  #server: { readonly at: number; readonly time: number } | null = null;
  #steadyOffset = 0;

  constructor(driver: Driver, client: Redis | Cluster, key: string, clock: SharedArrayBuffer) {
    this.#driver = driver;
    this.#client = client;
    this.#key = key;
    this.#clock = createClock(clock);
    // Each call says what went wrong with it.
    client.on("error", () => {});
    client.on("ready", () => void this.#measure().catch(() => {}));
    this.#measuring = setInterval(() => void this.#measure().catch(() => {}), MEASURE_EVERY_MS);
    this.#measuring.unref();
  }

  /** Connects. @throws StoreUnavailable, StoreUnusable */
  static async open(url: string, key: string, clock: SharedArrayBuffer): Promise<Connection> {
    const driver = await loadDriver();
    const connection = await Connection.#open(driver, createClient(driver, url, false), key, clock);
    const isCluster = !("nodes" in connection.#client) && (await connection.#isOfCluster());
    if (!isCluster) return connection;
    await connection.close();
    return await Connection.#open(driver, createClient(driver, url, true), key, clock);
  }

  static async #open(
    driver: Driver,
    client: Redis | Cluster,
    key: string,
    clock: SharedArrayBuffer,
  ): Promise<Connection> {
    const connection = new Connection(driver, client, key, clock);
    try {
      await connection.#whenReady();
      if ("nodes" in client || !(await connection.#isOfCluster())) await connection.#measure();
      return connection;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** The time as the server has it, moved as the given clock was. */
  moment(): Moment {
    const { now, steadyNow = now, dice } = this.#clock.moment();
    const server = this.#server;
    if (server === null) return { now, steadyNow, dice };
    const real = Math.floor(server.time + performance.now() - server.at);
    return { now: real + this.#moved(), steadyNow: steadyNow + this.#steadyOffset, dice };
  }

  /** Runs a script; the first argument is its key. @throws StoreUnavailable */
  async run(script: Script, args: readonly string[]): Promise<unknown> {
    return await this.#try(async () => {
      try {
        return await this.#send("evalsha", [script.sha, "1", ...args]);
      } catch (error) {
        if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
        return await this.#send("eval", [script.text, "1", ...args]);
      }
    });
  }

  /** A command that may be done twice. @throws StoreUnavailable */
  async command(name: string, args: readonly string[]): Promise<unknown> {
    return await this.#try(() => this.#send(name, args));
  }

  /** Asks every server that holds keys: one, or the masters of a cluster. @throws StoreUnavailable */
  async ask(name: string, args: readonly string[]): Promise<readonly unknown[]> {
    return await this.#try(() => {
      const nodes = "nodes" in this.#client ? this.#client.nodes("master") : [this.#client];
      return Promise.all(nodes.map((node) => node.call(name, ...args)));
    });
  }

  /** Calls `hear` with what is published on the channel, and every so often with what `poll` gives. */
  listen(channel: string, hear: (word: string) => void, poll: () => Promise<string>): void {
    let heard = "";
    let missed = "";
    const subscriber = this.#client.duplicate();
    this.#subscriber = subscriber as Redis | Cluster;
    subscriber.on("error", () => {});
    subscriber.on("message", (_channel: string, word: string) => {
      heard = word;
      hear(word);
    });
    const subscribe = () => void subscriber.subscribe(channel).catch(() => {});
    subscriber.on("ready", subscribe);
    const look = async () => {
      const word = await poll();
      hear(word);
      // Twice what was not heard of: the connection hears nothing any more.
      if (Number(word) > Number(heard) && missed !== "" && Number(missed) > Number(heard)) {
        missed = "";
        if (subscriber.status === "ready") subscriber.disconnect(true);
      } else missed = Number(word) > Number(heard) ? word : "";
    };
    this.#poll = setInterval(() => void look().catch(() => {}), POLL_EVERY_MS);
    this.#poll.unref();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#measuring);
    if (this.#poll !== null) clearInterval(this.#poll);
    for (const client of [this.#subscriber, this.#client]) {
      if (client === null || client.status === "end") continue;
      const ended = new Promise<void>((resolve) => client.once("end", resolve));
      client.disconnect();
      await Promise.race([ended, pauseMs(2000)]);
    }
  }

  async #try<T>(send: () => Promise<T>): Promise<T> {
    const until = performance.now() + PATIENCE_MS;
    for (let wait = 10; ; wait = Math.min(wait * 2, 200)) {
      if (this.#isClosed) throw new StoreUnavailable("The store is closed.");
      try {
        return await send();
      } catch (error) {
        const why = this.#judge(error);
        if (performance.now() + wait > until) throw new StoreUnavailable(why);
        await pauseMs(wait);
      }
    }
  }

  // Why it failed, where trying again may help; throws where it does not.
  #judge(error: unknown): string {
    if (!(error instanceof Error)) throw error;
    const [code] = error.message.split(" ", 1) as [string];
    const refusing = Object.hasOwn(REFUSING, code) ? REFUSING[code] : undefined;
    if (refusing !== undefined) throw new StoreUnavailable(refusing);
    if (PASSING.test(error.message)) {
      // The one that was the master is not any more: the address may lead to another by now.
      if (code === "READONLY" && "disconnect" in this.#client) this.#client.disconnect(true);
      return `Redis can't answer now (${code}).`;
    }
    if (error.name === "ReplyError") throw error;
    if (error.message === "Command timed out") this.#client.disconnect(true);
    return "Redis can't be reached.";
  }

  async #send(name: string, args: readonly string[]): Promise<unknown> {
    const { Command } = this.#driver;
    const command = new Command(name, args as string[], { replyEncoding: "utf8" });
    return await this.#client.sendCommand(command);
  }

  async #isOfCluster(): Promise<boolean> {
    return (await this.ask("info", ["cluster"])).some((text) => String(text).includes("cluster_enabled:1"));
  }

  async #whenReady(): Promise<void> {
    const why = await this.#firstReady();
    if (why !== null) throw why;
  }

  #firstReady(): Promise<Error | null> {
    return new Promise((resolve) => {
      const client = this.#client;
      if (client.status === "ready") return resolve(null);
      let last: Error | null = null;
      const finish = (why: Error | null) => {
        clearTimeout(timer);
        client.off("error", note);
        client.off("ready", ready);
        resolve(why);
      };
      const ready = () => finish(null);
      const note = (error: Error) => {
        last = error;
        if (/WRONGPASS|NOAUTH|invalid password/.test(error.message))
          finish(new StoreUnusable("Redis refuses the user or the password of its URL."));
      };
      const timer = setTimeout(
        () =>
          finish(new StoreUnavailable(`Redis can't be reached${last === null ? "" : `: ${reason(last)}`}.`)),
        PATIENCE_MS,
      );
      client.on("error", note);
      client.on("ready", ready);
    });
  }

  // Between a question and its answer the server's clock stood somewhere: the middle is off by half of that at most.
  async #measure(): Promise<void> {
    const [before, [seconds, micros], after] = await this.#try(() => this.#timeOfServer());
    const at = (before + after) / 2;
    const time = Number(seconds) * 1000 + Number(micros) / 1000;
    if (this.#server === null) {
      this.#steadyOffset = Math.round(time + (performance.now() - at) - Date.now());
      this.#server = { at, time };
      return;
    }
    const isNews = Math.abs(this.#server.time + at - this.#server.at - time) > (after - before) / 2 + 1;
    if (isNews) this.#server = { at, time };
  }

  // The server that has the store's keys, which TIME alone would not find in a cluster.
  async #timeOfServer(): Promise<[before: number, time: [string, string], after: number]> {
    const before = performance.now();
    const time = await this.#send("eval", ["return redis.call('TIME')", "1", this.#key]);
    return [before, time as [string, string], performance.now()];
  }

  // How far the test's clock was moved. The wall clock must not tick in between.
  #moved(): number {
    for (;;) {
      const before = Date.now();
      const { now } = this.#clock.moment();
      if (Date.now() === before) return Math.round(now - before);
    }
  }
}

function reason(error: Error): string {
  return "code" in error ? String(error.code) : error.message.replace(/\.$/, "");
}

function pauseMs(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

async function loadDriver(): Promise<Driver> {
  try {
    return await import("ioredis");
  } catch {
    throw new StoreUnusable("Redis as a store needs the package ioredis: npm install ioredis.");
  }
}

function createClient(driver: Driver, url: string, isCluster: boolean): Redis | Cluster {
  const { nodes, options } = readUrl(url);
  const common = {
    ...options,
    connectTimeout: ANSWER_MS,
    commandTimeout: ANSWER_MS,
    keepAlive: 10_000,
    enableOfflineQueue: false,
    // What is under way is given up when its connection is: it is sent again where that is known to be harmless.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    retryStrategy: (times: number) => Math.min(20 * 2 ** Math.min(times, 6), 1000),
  };
  const [first] = nodes;
  if (nodes.length === 1 && first !== undefined && !isCluster)
    return new driver.Redis({ ...common, ...first });
  return new driver.Cluster([...nodes], {
    redisOptions: common,
    enableOfflineQueue: false,
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    clusterRetryStrategy: (times: number) => Math.min(100 * times, 1000),
  });
}

interface Address {
  readonly host: string;
  readonly port: number;
}

/** `redis://user:password@host:6379/0`; further nodes of a cluster follow the first after commas. */
function readUrl(url: string): { readonly nodes: readonly Address[]; readonly options: object } {
  const match = /^(rediss?):\/\/(?:([^@/]*)@)?([^/?]*)(?:\/(\d*))?(?:\?.*)?$/.exec(url);
  if (match === null) throw new StoreUnusable("The URL of a Redis store is like redis://host:6379.");
  const [, scheme, credentials, hosts = "", database = ""] = match;
  const [user = "", ...password] = (credentials ?? "").split(":");
  const nodes = hosts.split(",").map((host) => {
    const { hostname, port } = new URL(`redis://${host || "127.0.0.1"}`);
    return { host: hostname.replace(/^\[|\]$/g, ""), port: port === "" ? 6379 : Number(port) };
  });
  const options = {
    ...(scheme === "rediss" ? { tls: {} } : {}),
    ...(user === "" ? {} : { username: decodeURIComponent(user) }),
    ...(password.length === 0 ? {} : { password: decodeURIComponent(password.join(":")) }),
    ...(database === "" || database === "0" ? {} : { db: Number(database) }),
  };
  return { nodes, options };
}

/** The URL for people: without user, password and parameters. */
export function nameOf(url: string): string {
  return url.replace(/\/\/[^@/]*@/, "//").replace(/\?.*$/, "");
}
