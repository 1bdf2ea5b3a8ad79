// A process of the crash tests: the product as the command line starts it. Its arguments are its folder, its role and
// the URL of its store.

import type { Config } from "../../src/server/config.ts";
import { startServer } from "../../src/server/server.ts";
import { startWorker } from "../../src/server/work.ts";
import { announce, houseIn, KEYS, PUBLIC_URL, type Role, TIERS } from "./house.ts";
import { createHandlers, OPERATIONS } from "./operations.ts";

const [folder, role, store] = process.argv.slice(2) as [string, Role, string];
const house = houseIn(folder);
const handlers = await createHandlers(house);
const config: Config = {
  path: null,
  operations: OPERATIONS.map((operation) => ({
    operation,
    handler: handlers[operation.name]!,
    module: null,
    isolate: null,
    concurrency: null,
  })),
  store,
  files: house.files,
  host: "127.0.0.1",
  port: 0,
  publicUrl: PUBLIC_URL,
  access: { kind: "keys", configKeys: KEYS, keys: KEYS, keysFile: null, jwt: null },
  tiers: TIERS,
  limits: "on",
  cors: { origins: [] },
  log: { level: "warn", pretty: false },
  shutdownGraceMs: 300,
  work: role === "both",
  healthPort: 0,
};
const running = await (role === "work" ? startWorker(config) : startServer(config));
announce(new URL(running.url!).port, () => running.close());
