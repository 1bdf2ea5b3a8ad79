// The thread beside the writer: checkpoints, which would hold up a commit, and listings, which may read many rows.

import { parentPort, workerData } from "node:worker_threads";
import type { Database } from "better-sqlite3";
import type { ListFilter } from "../store.ts";
import { openBeside, translate } from "./database.ts";
import { listRows } from "./table.ts";

/** The log is carried over into the database when so many of its pages are not yet. */
const CHECKPOINT_PAGES = 4096;

/** The log should begin anew when it has so many pages (256 MiB). */
const RESTART_PAGES = 65_536;

const LOOK_EVERY_MS = 200;

const port = parentPort as NonNullable<typeof parentPort>;
const { file, wishes: shared } = workerData as { readonly file: string; readonly wishes: SharedArrayBuffer };
const wishes = new Int32Array(shared);
try {
  serve(openBeside(file));
} catch (error) {
  const { name, message } = translate(error, file);
  port.postMessage({ failed: name, message });
  port.close();
}

function serve(db: Database): void {
  // NOOP only tells; PASSIVE holds up nobody.
  const looking = setInterval(() => {
    try {
      const [state] = db.pragma("wal_checkpoint(NOOP)") as { log: number; checkpointed: number }[];
      if (state === undefined || state.log - state.checkpointed < CHECKPOINT_PAGES) return;
      db.pragma("wal_checkpoint(PASSIVE)");
      if (state.log > RESTART_PAGES) Atomics.store(wishes, 0, 1);
    } catch {
      // A full disk shows where something is lost by it: at the writer.
    }
  }, LOOK_EVERY_MS);

  port.on("message", (message: { readonly id: number; readonly filter: ListFilter } | "close") => {
    if (message === "close") {
      clearInterval(looking);
      db.close();
      port.postMessage("closed");
      port.close();
      return;
    }
    try {
      port.postMessage({ id: message.id, rows: listRows(db, message.filter) });
    } catch (error) {
      port.postMessage({ id: message.id, failed: translate(error, file).message });
    }
  });

  port.postMessage("ready");
}
