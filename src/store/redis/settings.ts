// What the server's settings keep, read at the start: a store that would lose what it promised does not open.

import type { Durability } from "../store.ts";
import { StoreUnavailable, StoreUnusable } from "../store.ts";
import type { Connection } from "./connection.ts";

/**
 * Refuses a server that is too old, evicts keys, or keeps less than was asked for.
 * @throws StoreUnusable one sentence that names the setting
 * @throws StoreUnavailable for a replica, and a server that is loading
 */
export async function checkSettings(connection: Connection, asked: "power" | "process"): Promise<Durability> {
  for (const text of (await connection.ask("info", [])) as string[]) {
    const info = readInfo(text);
    checkServer(info);
    if (asked === "power") await checkPower(connection, info);
    else await checkProcess(connection, info);
  }
  return asked;
}

type Info = ReadonlyMap<string, string>;

function readInfo(text: string): Info {
  return new Map(
    text
      .split(/\r?\n/)
      .filter((line) => line.includes(":"))
      .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1)]),
  );
}

function checkServer(info: Info): void {
  // A Valkey calls itself a Redis 7.2.
  const version = info.get("redis_version") ?? "0";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < 6 || (major === 6 && minor < 2))
    throw new StoreUnusable(`Redis ${version} is too old for a store: version 6.2 or later is needed.`);
  if (info.get("loading") === "1") throw new StoreUnavailable("Redis is still loading its data.");
  if (info.get("role") === "slave")
    throw new StoreUnavailable("This Redis is a replica: the store needs the master.");
  const policy = info.get("maxmemory_policy");
  if (policy !== undefined && policy !== "noeviction") {
    throw new StoreUnusable(
      `Redis may evict jobs: set maxmemory-policy to noeviction (it is ${policy}) before it is a store.`,
    );
  }
}

async function checkPower(connection: Connection, info: Info): Promise<void> {
  if (info.get("aof_enabled") !== "1")
    throw new StoreUnusable(`Redis keeps no log of its writes: set appendonly to yes ${OR_LESS}.`);
  const settings = await readSettings(connection);
  if (settings === null) {
    throw new StoreUnusable(
      `Redis does not let its settings be read, so that it keeps what a power cut would take can't be checked: ask for durability "process".`,
    );
  }
  if (settings.get("appendfsync") !== "always") {
    throw new StoreUnusable(
      `Redis may lose its last second: set appendfsync to always (it is ${settings.get("appendfsync")}) ${OR_LESS}.`,
    );
  }
  if (settings.get("no-appendfsync-on-rewrite") === "yes")
    throw new StoreUnusable(
      `Redis syncs nothing while it rewrites its log: set no-appendfsync-on-rewrite to no ${OR_LESS}.`,
    );
}

const OR_LESS = 'or ask for durability "process"';

// Where settings can't be read (a managed server), that it persists at all is its owner's word.
async function checkProcess(connection: Connection, info: Info): Promise<void> {
  if (info.get("aof_enabled") === "1" || (await readSettings(connection)) === null) return;
  throw new StoreUnusable(
    "Redis would forget every job when it restarts: set appendonly to yes before it is a store.",
  );
}

async function readSettings(connection: Connection): Promise<ReadonlyMap<string, string> | null> {
  const settings = new Map<string, string>();
  for (const name of ["appendfsync", "no-appendfsync-on-rewrite"]) {
    try {
      for (const found of (await connection.ask("config", ["get", name])) as string[][]) {
        // Of several nodes, the one that keeps less is what counts.
        const value = found[1];
        const before = settings.get(name);
        const isLess = name === "appendfsync" ? value !== "always" : value === "yes";
        if (value !== undefined && (before === undefined || isLess)) settings.set(name, value);
      }
    } catch (error) {
      if (error instanceof StoreUnavailable && !/permission/.test(error.message)) throw error;
      return null;
    }
  }
  return settings.has("appendfsync") ? settings : null;
}
