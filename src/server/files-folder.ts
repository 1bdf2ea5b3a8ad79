// Keeps every folder of files to one store: what belongs to no job of a store is removed from its folder, so two stores in
// one folder would delete each other's files.
//
// The folder has a mark, `store.json`, with a digest of the store's secret. Whoever opens the folder with another store is
// refused.

import { link, open, readdir, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import { leftoverName } from "../blob/leftover.ts";
import { StoreUnusable } from "../store/store.ts";

/** The file's name; no folder of files is called so. */
const MARK = "store.json";

/** What stands for all stores in memory: none of them knows a file that an earlier one kept. */
export const MEMORY = "memory";

/**
 * Marks the folder as the store's own, where it has no mark. Rejects with `StoreUnusable` where it is another store's.
 *
 * @param mark a digest of the store's secret, or `MEMORY`
 */
export async function keepToStore(folder: string, mark: string): Promise<void> {
  const path = join(folder, MARK);
  const found = (await readMark(path)) ?? (await writeMark(folder, path, mark));
  if (found === mark) return;
  throw new StoreUnusable(
    `The files in ${folder} belong to another store: name another folder by \`files\` (COATCHECK_FILES), or delete ${path} ` +
      "if that store is no more.",
  );
}

/** Null where there is none. */
async function readMark(path: string): Promise<string | null> {
  let content: string;
  try {
    content = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  try {
    const { store } = JSON.parse(content) as { readonly store?: unknown };
    if (typeof store === "string") return store;
  } catch {
    // Said below.
  }
  throw new StoreUnusable(`${path}, which says whose files these are, can't be read: delete it if you know.`);
}

/** Gives what the mark says then: of several that start at once one writes it. */
async function writeMark(folder: string, path: string, mark: string): Promise<string> {
  // An unmarked folder is of a store of before there were marks. What is kept in memory has no such.
  if (mark === MEMORY && (await readdir(folder)).some((name) => /^[0-9a-f]{2}$/.test(name))) return "";
  const draft = join(folder, "unfinished", leftoverName());
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(`${JSON.stringify({ store: mark })}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    // Unlike a rename it replaces nothing, and unlike a write it is there whole or not at all.
    await link(draft, path);
    return mark;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return (await readMark(path)) ?? mark;
  } finally {
    await unlink(draft).catch(() => {});
  }
}
