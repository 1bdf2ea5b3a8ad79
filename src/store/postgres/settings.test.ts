// Which class of durability a server's settings give; those that are refused are in faults.test.ts.

import { randomBytes } from "node:crypto";
import pg from "pg";
import { expect, test } from "vitest";
import { providePostgres } from "../../../test/servers.ts";
import { openPostgres } from "./postgres.ts";

test("a server that waits for standbys is class quorum, unless its commits are local", async () => {
  const server = await providePostgres({ own: true });
  const admin = new pg.Client({ connectionString: server.url });
  await admin.connect();
  try {
    const schema = `settings_${randomBytes(6).toString("hex")}`;
    const classOf = async () => {
      const store = await openPostgres({ url: server.url, schema });
      await store.close();
      return store.durability;
    };
    expect(await classOf()).toBe("power");
    // Nothing of ours must wait for the standby that is named and never comes.
    await admin.query("SET synchronous_commit = local");
    await admin.query("ALTER SYSTEM SET synchronous_standby_names = '*'");
    await admin.query("SELECT pg_reload_conf()");
    await expect.poll(classOf, { timeout: 10_000 }).toBe("quorum");
    await admin.query("ALTER DATABASE postgres SET synchronous_commit = local");
    expect(await classOf()).toBe("power");
  } finally {
    await admin.end();
    await server.stop();
  }
}, 60_000);
