// The TypeScript of a page as modules: what one fence declares, the fences after it may use, as a reader takes it to be.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Page } from "./fences.ts";

/** What a page takes its reader to have already, by the page: files beside it, and lines before each fence. */
const TAKEN_AS_GIVEN: Readonly<
  Record<string, { readonly files?: Readonly<Record<string, string>>; readonly before?: string }>
> = {
  "docs/reference/configuration.md": {
    files: {
      "operations.ts": `import { defineOperation } from "coatcheck";
export const renderReport = defineOperation({ name: "render-report" });
`,
    },
  },
  "docs/reference/stores.md": {
    before: `import type { StoreUnderTest } from "coatcheck/testing";
declare const store: StoreUnderTest["store"];
declare const reopen: NonNullable<StoreUnderTest["reopen"]>;
declare const another: NonNullable<StoreUnderTest["another"]>;
declare const close: StoreUnderTest["close"];
`,
  },
};

interface Name {
  readonly name: string;
  readonly isType: boolean;
}

/** Writes the fences of a page to a folder of its own. A first line such as `// words.ts` is the name of the file. */
export function writeModules(folder: string, page: Page): void {
  const { files = {}, before = "" } = TAKEN_AS_GIVEN[page.path] ?? {};
  const written = new Set<string>();
  const write = (file: string, text: string) => {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
    written.add(file);
  };
  for (const [file, text] of Object.entries(files)) write(file, text);
  const known = new Map<string, { readonly name: Name; readonly file: string }>();
  for (const { language, text, line } of page.fences) {
    if (language !== "ts") continue;
    const named = /^\/\/ ([\w./-]+\.ts)$/m.exec(text.split("\n", 1)[0] as string)?.[1];
    const file = named === undefined || written.has(named) ? `line-${line}.ts` : named;
    const own = namesOf(text);
    const taken = [...known.values()].filter(
      ({ name }) =>
        !own.some((mine) => mine.name === name.name) && new RegExp(`\\b${name.name}\\b`).test(text),
    );
    const imports = taken.map(
      ({ name, file: from }) => `import ${name.isType ? "type " : ""}{ ${name.name} } from "./${from}";\n`,
    );
    const exported = own.filter(({ name }) => !new RegExp(`^export .*\\b${name}\\b`, "m").test(text));
    const exports = exported.map(({ name, isType }) => `export ${isType ? "type " : ""}{ ${name} };\n`);
    write(file, [...imports, before, text, "\n", ...exports].join(""));
    for (const name of own) known.set(name.name, { name, file });
  }
}

/** What stands at the top level of a module: imported, or declared. */
function namesOf(text: string): readonly Name[] {
  const declared = [
    ...text.matchAll(
      /^(?:export )?(?:default )?(?:async )?(const|let|function\*?|class|type|interface) +([A-Za-z_$][\w$]*)/gm,
    ),
  ].map(([, how, name]) => ({ name: name as string, isType: how === "type" || how === "interface" }));
  const imported = [...text.matchAll(/^import (type )?([^;"']*?) from "/gm)].flatMap(
    ([, allTypes, clause = ""]) =>
      clause
        .replaceAll(/[{}\n]/g, " ")
        .split(",")
        .map((part) => part.trim())
        .filter((part) => part !== "")
        .map((part) => ({
          name: part.replace(/^type /, "").replace(/^.* as /, ""),
          isType: allTypes !== undefined || part.startsWith("type "),
        })),
  );
  return [...declared, ...imported];
}
