// What the server's settings keep, read at the start: a store that would lose what it promised does not open.

import type { Durability } from "../store.ts";
import { StoreUnavailable, StoreUnusable } from "../store.ts";
import { type Connection, first } from "./connection.ts";

/** The oldest server that knows what became of a transaction and all else that is asked of it. */
const LEAST_VERSION = 120_000;

/**
 * Refuses a server that is too old, or keeps less than was asked for.
 * @throws StoreUnusable one sentence that names the setting
 * @throws StoreUnavailable for a standby
 */
export async function checkSettings(connection: Connection, asked: "power" | "process"): Promise<Durability> {
  const [result, standby] = await connection.ask(
    `SELECT name, setting FROM pg_settings WHERE name IN ('server_version_num', 'server_version', 'fsync', 'full_page_writes',
      'synchronous_commit', 'synchronous_standby_names', 'server_encoding');
     SELECT pg_is_in_recovery() AS is_standby`,
  );
  const settings = new Map(
    ((result?.rows ?? []) as { name: string; setting: string }[]).map(({ name, setting }) => [name, setting]),
  );
  const { name } = connection;
  if (Number(settings.get("server_version_num")) < LEAST_VERSION)
    throw new StoreUnusable(
      `${name} is PostgreSQL ${settings.get("server_version")}: version 12 or later is needed.`,
    );
  if (settings.get("server_encoding") !== "UTF8")
    throw new StoreUnusable(
      `${name} has the encoding ${settings.get("server_encoding")}: a store needs a database in UTF8.`,
    );
  if (first<{ is_standby: boolean }>(standby).is_standby)
    throw new StoreUnavailable(`${name} is a standby, which can't be written.`);
  if (asked === "process") return "process";
  for (const setting of ["fsync", "full_page_writes"]) {
    if (settings.get(setting) === "off")
      throw new StoreUnusable(
        `${name} has ${setting} = off, so a power cut loses what was accepted: set it to on, or ask for durability=process.`,
      );
  }
  const commit = settings.get("synchronous_commit") ?? "on";
  if (commit === "off")
    throw new StoreUnusable(
      `${name} has synchronous_commit = off, so a crash of the server loses what was accepted: set it to on, or ask for durability=process.`,
    );
  // With `local` nobody waits for the standbys that are named.
  return settings.get("synchronous_standby_names") !== "" && commit !== "local" ? "quorum" : "power";
}
