import { randomBytes } from "node:crypto";
import { afterAll, beforeAll } from "vitest";
import { type ProvidedServer, provideRedis } from "../../../test/servers.ts";
import { storeSuite } from "../../testing/store.ts";
import { openRedis } from "./redis.ts";

let server: ProvidedServer;

beforeAll(async () => {
  server = await provideRedis({ appendonly: true, own: true });
}, 60_000);

afterAll(() => server?.stop());

// A namespace for each store: they share the server.
storeSuite("redis", async ({ clock }) => {
  const prefix = `test-${randomBytes(6).toString("hex")}`;
  const open = () => openRedis({ url: server.url, prefix, clock });
  let store = await open();
  return {
    store,
    async reopen() {
      store = await open();
      return store;
    },
    close: () => store.close(),
  };
});
