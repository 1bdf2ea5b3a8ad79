// The pages for readers are true: what they show is run, what they list is what there is, and their links lead somewhere.
//
//   ```ts       is compiled; a first line such as `// words.ts` names the file, for the fences after it
//   ```ts run   is run as well: to its end, with what its `// prints` comments say; or, where it listens on port 2020,
//               as the server of the commands that follow
//   ```console  is typed into a shell, and shows what is printed (see docs/shown.ts); without a program before it,
//               the server of `npm start` answers on port 2020
//   ```sh       is read by a shell and not run: it is for the reader's own machine
//   ```json     is JSON, where it leaves nothing out

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PROBLEMS } from "../src/core/problem.ts";
import { anchorsOf, linksOf, type Page, proseOf, ROOT, readPages } from "./docs/fences.ts";
import { openSession, writeFence } from "./docs/session.ts";
import { fits } from "./docs/shown.ts";
import { provideBinary } from "./servers.ts";

const LANGUAGES = ["ts", "console", "sh", "json", "text", "http"];

const pages = readPages();
let folder: string;
let curl: string;

beforeAll(async () => {
  curl = await provideBinary("curl", "curl");
  mkdirSync(join(ROOT, ".cache"), { recursive: true });
  // Below the repository, where its packages are found.
  folder = mkdtempSync(join(ROOT, ".cache", "docs-"));
  for (const page of pages) for (const fence of page.fences) if (fence.language === "ts") writeFence(at(page), fence);
}, 300_000);

afterAll(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
});

function at({ path }: Page): string {
  return join(folder, path.replace(/\.md$/, "").replaceAll("/", "-").toLowerCase());
}

describe("fences", () => {
  it("are of a kind that is checked", () => {
    const wrong = pages.flatMap(({ path, fences }) =>
      fences.filter(({ language }) => !LANGUAGES.includes(language)).map(({ line }) => `${path}:${line}`),
    );
    expect(wrong).toEqual([]);
  });

  it("of TypeScript compile", () => {
    const config = { extends: join(ROOT, "tsconfig.json"), compilerOptions: RELAXED, include: ["**/*.ts"] };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    const { stdout, stderr } = spawnSync(process.execPath, [tsc, "--project", "."], { cwd: folder, encoding: "utf8" });
    expect(stdout + stderr).toBe("");
  });

  it("of the shell can be read, and name scripts that there are", () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { scripts: Record<string, string> };
    for (const { path, fences } of pages) {
      for (const { language, text, line } of fences) {
        if (language !== "sh") continue;
        const { status, stderr } = spawnSync("sh", ["-n"], { input: text, encoding: "utf8" });
        expect({ place: `${path}:${line}`, status, stderr }).toMatchObject({ status: 0 });
        for (const [, name = ""] of text.matchAll(/\bnpm run ([\w:-]+)/g)) expect(Object.keys(scripts)).toContain(name);
      }
    }
  });

  it("of JSON are JSON", () => {
    for (const { path, fences } of pages) {
      for (const { language, text, line } of fences) {
        if (language !== "json" || text.includes("…")) continue;
        expect(() => JSON.parse(text), `${path}:${line}`).not.toThrow();
      }
    }
  });
});

// A page may name what it does not go on to use.
const RELAXED = { noUnusedLocals: false, noUnusedParameters: false };

describe("what a page shows is what happens:", () => {
  const running = pages.filter(({ fences }) => fences.some(({ language, run }) => run || language === "console"));
  it.each(running.map((page) => [page.path, page] as const))("%s", async (_path, page) => {
    const session = await openSession(at(page), curl);
    try {
      for (const fence of page.fences) {
        if (fence.language === "ts" && fence.run) await session.runProgram(fence);
        else if (fence.language === "console") await session.runConsole(fence);
      }
    } finally {
      await session.close();
    }
  }, 240_000);

  it("and what is compared lets nothing but what differs from run to run be different", () => {
    const words = new Map<string, string>();
    const shown = 'HTTP/1.1 202 Accepted\nretry-after: 2\n… { "id": "6zf3n0x8x0s8vq1wq2mkgc4h0r", "progress": 40 }';
    const printed = 'HTTP/1.1 202 Accepted\r\nRetry: 1\r\n';
    expect(fits(shown, printed, words)).toBe(false);
    const real = 'HTTP/1.1 202 Accepted\r\nretry-after: 17\r\nx: y\r\n\r\n{"id":"0000000000000000000000000z","progress":5.5}';
    expect(fits(shown, real, words)).toBe(true);
    expect(words.get("6zf3n0x8x0s8vq1wq2mkgc4h0r")).toBe("0000000000000000000000000z");
    expect(fits(shown, real.replace("0000000000000000000000000z", "1".repeat(26)), words)).toBe(false);
    expect(fits(shown, real.replace("202", "200"), words)).toBe(false);
    expect(fits(shown, `${real} more`, words)).toBe(false);
  });
});

describe("links", () => {
  it("lead to a page or a file that there is, and to a heading that it has", () => {
    const wrong = pages.flatMap((page) =>
      linksOf(page)
        .filter((target) => !/^(?:https?:|mailto:)/.test(target))
        .filter((target) => !leadsSomewhere(page, target))
        .map((target) => `${page.path} → ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it("reach every page of docs/ from another", () => {
    const linked = new Set(
      pages.flatMap((page) =>
        linksOf(page).map((target) => posix.join(dirname(page.path), target.split("#", 1)[0] as string)),
      ),
    );
    const inFolder = (path: string) => linked.has(posix.dirname(path)) || linked.has(`${posix.dirname(path)}/`);
    const lost = pages.filter(({ path }) => path.startsWith("docs/") && !linked.has(path) && !inFolder(path));
    expect(lost.map(({ path }) => path)).toEqual([]);
  });
});

function leadsSomewhere(page: Page, target: string): boolean {
  const [path = "", anchor] = target.split("#");
  const place = path === "" ? page.path : posix.join(dirname(page.path), path);
  if (!existsSync(join(ROOT, place))) return false;
  if (anchor === undefined || statSync(join(ROOT, place)).isDirectory()) return true;
  const other = pages.find((candidate) => candidate.path === place.replace(/\/$/, ""));
  return other !== undefined && anchorsOf(other).has(anchor);
}

describe("docs/reference/problems.md", () => {
  const page = pages.find(({ path }) => path === "docs/reference/problems.md") as Page;
  const sections = [...page.text.matchAll(/^### `([\w-]+)` · (\d{3})\n\n\*\*(.+)\*\* (.+)$/gm)];

  it("lists every problem of the catalogue, in its order, with its status, title and help", () => {
    const told = sections.map(([, name, status, title, help]) => ({ name, status: Number(status), title, help }));
    const known = Object.entries(PROBLEMS).map(([name, { status, title, help }]) => ({
      name,
      status,
      title: `${title}.`,
      help,
    }));
    expect(told).toEqual(known);
  });

  it("has no section that is none of them", () => {
    expect(proseOf(page).match(/^### /gm)).toHaveLength(sections.length);
  });

  it("knows every problem that another page names", () => {
    const known = new Set<string>(Object.keys(PROBLEMS));
    const named = pages.flatMap(({ path, text }) =>
      [...text.matchAll(/\/problems\/([\w-]+)/g)].map(([, name = ""]) => ({ path, name })),
    );
    expect(named.filter(({ name }) => !known.has(name))).toEqual([]);
  });
});

describe("docs/decisions", () => {
  it("are numbered without a gap, and each says its context, its decision and what follows", () => {
    const decisions = pages.filter(({ path }) => path.startsWith("docs/decisions/"));
    for (const [index, { path, text }] of decisions.entries()) {
      const number = String(index + 1).padStart(3, "0");
      expect(path).toMatch(new RegExp(`^docs/decisions/${number}-[a-z0-9-]+\\.md$`));
      expect(text).toMatch(new RegExp(`^# ${number}: `));
      for (const part of ["Context", "Decision", "Consequence"]) expect(text).toContain(`**${part}.**`);
    }
  });
});
