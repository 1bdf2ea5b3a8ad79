// Broken: a key is looked for first and written down after the job, not in one transaction with it.

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Store, SubmitWrite, Write, WrittenOf } from "../../../src/store/store.ts";
import { serveWith } from "./compose.ts";

interface Entry {
  readonly key: string;
  readonly fingerprint: string;
  readonly address: string;
}

await serveWith((store, folder) => {
  const file = join(folder, "keys.jsonl");
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];
  const keys = new Map(lines.map((line) => JSON.parse(line) as Entry).map((entry) => [entry.key, entry]));

  const submit = async (write: SubmitWrite): Promise<WrittenOf<SubmitWrite>> => {
    const { sameness, address } = write;
    const known = keys.get(sameness!.key);
    if (known !== undefined) {
      if (known.fingerprint !== sameness!.fingerprint) return { refused: "key-reused" };
      const sight = await store.read({ get: "job", address: known.address });
      if (sight !== null) return { did: "submit", replayed: true, ...sight };
    }
    const written = await store.write({ ...write, sameness: null });
    if ("did" in written) {
      const entry: Entry = { key: sameness!.key, fingerprint: sameness!.fingerprint, address };
      keys.set(entry.key, entry);
      appendFileSync(file, `${JSON.stringify(entry)}\n`);
    }
    return written;
  };

  const broken: Store = {
    durability: store.durability,
    name: store.name,
    async write<W extends Write>(write: W): Promise<WrittenOf<W>> {
      if (write.do !== "submit" || write.sameness === null) return store.write(write);
      return (await submit(write)) as unknown as WrittenOf<W>;
    },
    read: (query) => store.read(query),
    listen: (listener) => store.listen(listener),
    close: () => store.close(),
  };
  return broken;
});
