// A process that only works: a desk without routes, and a port for those who watch it, where one is wanted.

import { createApp } from "../http/app.ts";
import { createLog } from "../telemetry/log.ts";
import { VERSION } from "../version.ts";
import { type Config, isWorked } from "./config.ts";
import { deskOptionsOf, register } from "./configured.ts";
import { createDesk } from "./desk.ts";
import { addHealth } from "./health.ts";
import { listen } from "./listen.ts";

export interface RunningWorker {
  /** Where `/health/live` and `/health/ready` are; null where no port is open. */
  readonly url: string | null;
  /** Ends gracefully: running attempts get their time to stop, the leases of the rest are given back. */
  close(): Promise<void>;
}

/** Starts working; rejects with one sentence where the store or the address can't be used. */
export async function startWorker(config: Config): Promise<RunningWorker> {
  const log = createLog({
    level: config.log.level,
    ...(config.log.pretty === null ? {} : { pretty: config.log.pretty }),
  });
  const { desk, parts } = createDesk(deskOptionsOf(config, log));
  register(desk, config.operations);
  let url = "";
  const app = createApp({ publicUrl: () => url, log });
  try {
    const { store } = await parts();
    const health = addHealth(app, store);
    const { healthPort = null } = config;
    if (healthPort !== null) url = await listen(app, config.host, healthPort);
    await desk.work();
    const operations = config.operations.filter(isWorked).map(({ operation }) => operation.name);
    log.info({ store: store.name, operations, version: VERSION, ...(url === "" ? {} : { url }) }, "working");
    return {
      url: url === "" ? null : url,
      async close() {
        health.drain();
        await desk.close();
        await app.close();
      },
    };
  } catch (error) {
    await desk.close().catch(() => {});
    await app.close();
    throw error;
  }
}
