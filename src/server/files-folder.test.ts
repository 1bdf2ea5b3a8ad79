import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openFileBlobs } from "../blob/file.ts";
import { defineOperation } from "../core/operation.ts";
import { StoreUnusable } from "../store/store.ts";
import { coatcheck } from "./desk.ts";
import { keepToStore, MEMORY } from "./files-folder.ts";

const ONE = "1".repeat(64);
const OTHER = "2".repeat(64);

let home: string;
let files: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "coatcheck-files-"));
  files = join(home, "files");
});
afterEach(() => rm(home, { recursive: true }));

const open = async () => (await openFileBlobs(files)).close();

test("a folder is the first store's that asks, and its mark is there whole", async () => {
  await open();
  await keepToStore(files, ONE);
  await keepToStore(files, ONE);
  expect(JSON.parse(await readFile(join(files, "store.json"), "utf8"))).toEqual({ store: ONE });
  await expect(keepToStore(files, OTHER)).rejects.toThrow(StoreUnusable);
  await expect(keepToStore(files, OTHER)).rejects.toThrow(/belong to another store: .*store\.json.*\.$/);
  expect(await readdir(join(files, "unfinished"))).toEqual([]);
});

test("of many that start at once all of the store are let in, and no other", async () => {
  await open();
  const marks = Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? ONE : OTHER));
  const kept = await Promise.allSettled(marks.map((mark) => keepToStore(files, mark)));
  const { store } = JSON.parse(await readFile(join(files, "store.json"), "utf8")) as { store: string };
  expect(kept.map(({ status }) => status)).toEqual(
    marks.map((mark) => (mark === store ? "fulfilled" : "rejected")),
  );
});

test("a mark that can't be read is no mark to overwrite", async () => {
  await open();
  await writeFile(join(files, "store.json"), "{");
  await expect(keepToStore(files, ONE)).rejects.toThrow(/can't be read/);
  expect(await readFile(join(files, "store.json"), "utf8")).toBe("{");
});

test("a folder with files of before there were marks is its durable store's, and none of a store in memory", async () => {
  const blobs = await openFileBlobs(files);
  await blobs.write({ address: "a".repeat(32), part: 1, name: "x" }, Readable.from(["x"]), { maxBytes: 9 });
  await blobs.close();
  await expect(keepToStore(files, MEMORY)).rejects.toThrow(StoreUnusable);
  await keepToStore(files, ONE);
});

test("two desks with stores of their own and one folder between them: the second does not open", async () => {
  const nap = defineOperation({ name: "nap" });
  const desk = (store: string) => coatcheck({ operations: [nap], store, files, log: false });
  const [first, again, second, forgetful] = [
    desk(`sqlite:${home}/one.db`),
    desk(`sqlite:${home}/one.db`),
    desk(`sqlite:${home}/two.db`),
    desk("memory:"),
  ] as const;
  await first.ready();
  await again.ready();
  await expect(second.ready()).rejects.toThrow(`The files in ${files} belong to another store`);
  await expect(forgetful.ready()).rejects.toThrow("belong to another store");
  await Promise.all([first, again, second, forgetful].map((each) => each.close()));
});
