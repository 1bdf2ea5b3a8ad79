import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { storeModel } from "../../testing/model.ts";
import type { StoreFactory } from "../../testing/store.ts";
import { openSqlite } from "./sqlite.ts";

const factory: StoreFactory = async ({ clock }) => {
  const root = mkdtempSync(join(tmpdir(), "coatcheck-model-"));
  const broken: Error[] = [];
  let lives = 0;
  let folder = join(root, "0");
  const open = () =>
    openSqlite({ file: join(folder, "store.db"), clock, onBroken: (error) => broken.push(error) });
  let store = await open();
  return {
    store,
    async reopen() {
      store = await open();
      return store;
    },
    // What the disk holds when the process dies: the file and its log, as they are.
    async crash() {
      const next = join(root, `${++lives}`);
      cpSync(folder, next, { recursive: true });
      await store.close();
      rmSync(folder, { recursive: true });
      folder = next;
      store = await open();
      return store;
    },
    async close() {
      await store.close();
      rmSync(root, { recursive: true });
      expect(broken).toEqual([]);
    },
  };
};

storeModel("sqlite", factory);

// As several processes on one machine over one file would; of those, none dies alone and leaves a copy.
const two: StoreFactory = async (options) => {
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-model-"));
  const file = join(folder, "store.db");
  const open = () => openSqlite({ file, clock: options.clock });
  let store = await open();
  return {
    store,
    async reopen() {
      store = await open();
      return store;
    },
    another: open,
    async close() {
      await store.close();
      rmSync(folder, { recursive: true });
    },
  };
};

storeModel("sqlite, two at once", two, { runs: 100 });
