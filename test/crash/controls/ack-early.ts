// Broken: a submit without a key is answered before its transaction is committed.

import { decide } from "../../../src/core/machine.ts";
import type { Store, Write, WrittenOf } from "../../../src/store/store.ts";
import { serveWith } from "./compose.ts";

await serveWith((store) => ({
  ...boundOf(store),
  async write<W extends Write>(write: W): Promise<WrittenOf<W>> {
    const written = store.write(write);
    if (write.do !== "submit" || write.sameness !== null || write.idFingerprint !== null) return written;
    written.catch(() => {});
    const { submission } = write;
    const decision = decide(
      null,
      { do: "submit", submission, row: 0, turn: 0 },
      { now: Date.now(), dice: 0 },
    );
    if ("refused" in decision) throw new Error(decision.refused);
    const sight = { job: decision.job, position: null, waitingFor: null };
    return { did: "submit", replayed: false, ...sight } as unknown as WrittenOf<W>;
  },
}));

function boundOf(store: Store): Store {
  return {
    durability: store.durability,
    name: store.name,
    write: (write) => store.write(write),
    read: (query) => store.read(query),
    listen: (listener) => store.listen(listener),
    close: () => store.close(),
  };
}
