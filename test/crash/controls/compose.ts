// The real parts put together around a store with one thing broken: the checker must find it.

import type { AddressInfo } from "node:net";
import { openFileBlobs } from "../../../src/blob/file.ts";
import { readyOperations } from "../../../src/core/operations.ts";
import { createAccess } from "../../../src/http/access.ts";
import { createApp } from "../../../src/http/app.ts";
import { plugin } from "../../../src/http/plugin.ts";
import { createLedger } from "../../../src/ledger/ledger.ts";
import { openSqlite } from "../../../src/store/sqlite/sqlite.ts";
import type { Store } from "../../../src/store/store.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createWorker } from "../../../src/worker/worker.ts";
import { announce, houseIn, KEYS, PUBLIC_URL, TIERS } from "../house.ts";
import { createHandlers, OPERATIONS } from "../operations.ts";
import { openRecorder } from "../record.ts";

/** Serves from the folder that the program's argument names; `breakStore` is what is wrong with it. */
export async function serveWith(breakStore: (store: Store, folder: string) => Store): Promise<void> {
  const house = houseIn(process.argv[2]!);
  const real = await openSqlite({ file: house.store });
  const store = breakStore(real, house.folder);
  const log = createLog({ level: "warn", pretty: false });
  const onError = (error: unknown) => log.error({ err: error }, "in the background");
  const runs = createHandlers(await openRecorder(house.runs));
  const operations = readyOperations(OPERATIONS);
  const blobs = await openFileBlobs(house.files);
  const ledger = await createLedger({ store, operations, blobs, onError });
  const handlers = new Map(Object.entries(runs).map(([name, handler]) => [name, { handler }]));
  const { attempts, jobs } = ledger;
  const name = `${process.pid}-${Date.now()}`;
  const worker = createWorker({ attempts, operations, blobs, handlers, name, address: jobs.address, log });
  const access = createAccess({ tiers: TIERS, keys: KEYS });
  const publicUrl = () => PUBLIC_URL;
  const app = createApp({ publicUrl, log });
  await app.register(
    plugin({ jobs, operations, blobs, access, cursorKey: new Uint8Array(32), log, publicUrl }),
  );
  await app.listen({ host: "127.0.0.1", port: 0 });
  worker.start();
  announce((app.server.address() as AddressInfo).port, async () => {
    await app.close();
    await worker.stop({ graceMs: 300 });
    await ledger.close();
    await real.close();
  });
}
