// The real parts put together around a store with one thing broken: the checker must find it.

import type { AddressInfo } from "node:net";
import { openFileBlobs } from "../../../src/blob/file.ts";
import { readyOperations } from "../../../src/core/operations.ts";
import { createAccess } from "../../../src/http/access.ts";
import { createApp } from "../../../src/http/app.ts";
import { plugin } from "../../../src/http/plugin.ts";
import { createLedger } from "../../../src/ledger/ledger.ts";
import { openStore } from "../../../src/server/open-store.ts";
import type { Store } from "../../../src/store/store.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createWorker } from "../../../src/worker/worker.ts";
import { announce, houseIn, KEYS, PUBLIC_URL, type Role, TIERS } from "../house.ts";
import { createHandlers, OPERATIONS } from "../operations.ts";

/** A process as its arguments say; `breakStore` is what is wrong with its store. */
export async function serveWith(breakStore: (store: Store, folder: string) => Store): Promise<void> {
  const [folder, role, url] = process.argv.slice(2) as [string, Role, string];
  const house = houseIn(folder);
  const { store: real } = await openStore(url, {
    onBroken: (error) => {
      throw error;
    },
  });
  const store = breakStore(real, house.folder);
  const log = createLog({ level: "warn", pretty: false });
  const onError = (error: unknown) => log.error({ err: error }, "in the background");
  const runs = role === "serve" ? {} : await createHandlers(house);
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
