import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { STORE_SENTENCES, storeSuite } from "../../testing/store.ts";
import { openSqlite } from "./sqlite.ts";

const DOC = fileURLToPath(new URL("../../../docs/reference/stores.md", import.meta.url));

storeSuite("sqlite", async ({ clock }) => {
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-sqlite-"));
  const file = join(folder, "store.db");
  const broken: Error[] = [];
  let store = await openSqlite({ file, clock, onBroken: (error) => broken.push(error) });
  return {
    store,
    async reopen() {
      store = await openSqlite({ file, clock, onBroken: (error) => broken.push(error) });
      return store;
    },
    another: () => openSqlite({ file, clock, onBroken: (error) => broken.push(error) }),
    async close() {
      await store.close();
      rmSync(folder, { recursive: true });
      expect(broken).toEqual([]);
    },
  };
});

test("docs/reference/stores.md lists what the suite of every store holds", () => {
  const printed = print();
  if (process.env.UPDATE_DOCS === "1") {
    mkdirSync(dirname(DOC), { recursive: true });
    writeFileSync(DOC, printed);
  }
  expect(readFileSync(DOC, "utf8")).toBe(printed);
});

function print(): string {
  const about: Readonly<Record<string, string>> = {
    accepting: "What is accepted",
    claiming: "Who gets which job, and when",
    working: "Attempts, leases and outcomes",
    lasting: "Deadlines, retention and clocks",
    reading: "What can be read",
    keeping: "What is kept",
    moving: "What another store takes over",
  };
  const sections = Object.entries(STORE_SENTENCES).map(
    ([group, sentences]) =>
      `## ${about[group] ?? group}\n\n${sentences.map((one) => `- ${one}`).join("\n")}\n`,
  );
  return `# Stores

A store keeps the jobs. Which one is named by \`store\` (\`COATCHECK_STORE\`):

| store | name | what survives |
| --- | --- | --- |
| memory | \`memory:\` | nothing but the process: for tests and throw-away use |
| SQLite | \`sqlite:path/to/file.db\` | a kill -9 and a power cut of its disk (class *power*): \`synchronous=FULL\`, read back at the start |
| PostgreSQL | \`postgres://user:password@host:5432/database\` | the same (*power*), or the loss of any one machine (*quorum*) where a synchronous standby is named; settings that keep less are refused |
| Redis, Valkey | \`redis://:password@host:6379/0\` | the same (*power*), by \`appendonly yes\` and \`appendfsync always\`; settings that keep less are refused |

\`?durability=process\` accepts a PostgreSQL or a Redis that may lose what it answered last when its machine fails. What each class asks for, and
what a failover can lose, is in [scale](../guides/scale.md#what-survives).

Every sentence below is a case of one suite, \`storeSuite\` of \`coatcheck/testing\`, that each store passes; a letter names
the promise it holds. Who writes a store of his own runs the same suite:

\`\`\`ts
import { storeSuite } from "coatcheck/testing";

storeSuite("mine", async ({ clock }) => ({ store, reopen, another, close }));
\`\`\`

\`storeModel\`, beside it, draws what callers, workers, operators and clocks do at random, one after another and at once, and holds each
answer against the promises. It plays 300 lists, or as many as \`COATCHECK_MODEL_RUNS\` says; a failure prints the
shortest list that it found and the line that plays it again (\`COATCHECK_MODEL_SEED\`, \`COATCHECK_MODEL_PATH\`). It needs the package
\`fast-check\`. \`simulate\` plays a house of callers and workers for thousands of simulated hours, by one seed.

${sections.join("\n")}`;
}
