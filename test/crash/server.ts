// The server that crash tests kill: the product as `coatcheck serve` starts it. Its only argument is its folder.

import { startServer } from "../../src/server/server.ts";
import { announce, houseIn, KEYS, PUBLIC_URL, TIERS } from "./house.ts";
import { createHandlers, OPERATIONS } from "./operations.ts";
import { openRecorder } from "./record.ts";

const house = houseIn(process.argv[2]!);
const handlers = createHandlers(await openRecorder(house.runs));
const server = await startServer({
  path: null,
  operations: OPERATIONS.map((operation) => ({
    operation,
    handler: handlers[operation.name]!,
    module: null,
    isolate: null,
    concurrency: null,
  })),
  store: `sqlite:${house.store}`,
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
});
announce(new URL(server.url).port, () => server.close());
