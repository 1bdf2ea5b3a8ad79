// Broken: a settle does not ask whether the attempt is still its own; it settles whichever attempt there is.

import type { Query, Write, WrittenOf } from "../../../src/store/store.ts";
import { serveWith } from "./compose.ts";

await serveWith((store) => ({
  durability: store.durability,
  name: store.name,
  async write<W extends Write>(write: W): Promise<WrittenOf<W>> {
    if (write.do !== "settle") return store.write(write);
    const [sight] = await store.read({ get: "rows", rows: [write.row] } satisfies Query);
    return store.write({ ...write, attempt: sight?.job.attempt ?? write.attempt });
  },
  read: (query) => store.read(query),
  listen: (listener) => store.listen(listener),
  close: () => store.close(),
}));
