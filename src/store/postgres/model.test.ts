import { randomBytes } from "node:crypto";
import { afterAll, beforeAll } from "vitest";
import { type ProvidedServer, providePostgres } from "../../../test/servers.ts";
import { storeModel } from "../../testing/model.ts";
import { openPostgres } from "./postgres.ts";

let server: ProvidedServer;

beforeAll(async () => {
  server = await providePostgres();
});

afterAll(() => server?.stop());

storeModel("postgres", async ({ clock }) => {
  const schema = `model_${randomBytes(6).toString("hex")}`;
  const open = () => openPostgres({ url: server.url, schema, clock });
  let store = await open();
  return {
    store,
    async reopen() {
      store = await open();
      return store;
    },
    another: open,
    close: () => store.close(),
  };
});
