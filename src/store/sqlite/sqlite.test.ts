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
| memory | \`memory\` | nothing but the process: for tests and throw-away use |
| SQLite | \`sqlite:path/to/file.db\` | a kill -9 and a power cut of its disk (class *power*): \`synchronous=FULL\`, read back at the start |

Every sentence below is a case of one suite, \`storeSuite\` of \`coatcheck/testing\`, that each store passes; a letter names
the promise it holds. Who writes a store of his own runs the same suite:

\`\`\`ts
import { storeSuite } from "coatcheck/testing";

storeSuite("mine", async ({ clock }) => ({ store, reopen, close }));
\`\`\`

${sections.join("\n")}`;
}
