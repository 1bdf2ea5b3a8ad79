// The SQLite driver that this Node can load: better-sqlite3 13 needs Node 22.14, and version 12 does for Node 20. A program of
// yours runs on one Node and installs one of them.

import type BetterSqlite3 from "better-sqlite3";

const name = Number(process.versions.napi) >= 10 ? "better-sqlite3" : "better-sqlite3-node20";

const driver = (await import(name)) as { readonly default: typeof BetterSqlite3 };

export const SQLite: typeof BetterSqlite3 = driver.default;
