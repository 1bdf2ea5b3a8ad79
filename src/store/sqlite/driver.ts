// The SQLite driver that this Node can load. better-sqlite3 13 stands on Node-API 10, which Node 20 does not have: loaded there, it
// would crash the process. Version 12 stands on V8 itself, and aborts on newer versions of Node 24 as soon as a statement is
// collected. So both are installed, and one is loaded.

import type BetterSqlite3 from "better-sqlite3";
import { StoreUnusable } from "../store.ts";

const name = Number(process.versions.napi) >= 10 ? "better-sqlite3" : "better-sqlite3-node20";

const driver = (await import(name).catch((error: unknown) => {
  // It is compiled when it is installed, which may have failed without a word: it is optional, as newer Nodes do without.
  throw new StoreUnusable(
    `The package ${name} can't be loaded: run \`npm rebuild ${name}\` to see why. (${error})`,
  );
})) as { readonly default: typeof BetterSqlite3 };

export const Database: typeof BetterSqlite3 = driver.default;
