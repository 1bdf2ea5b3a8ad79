// The pages for readers are true: what they show compiles and runs, what they list is what there is, and their links lead somewhere.

import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startServer } from "../examples/demo/server.ts";
import { PROBLEMS } from "../src/core/problem.ts";
import { anchorsOf, type Fence, linksOf, type Page, proseOf, ROOT, readPages } from "./docs/fences.ts";
import { writeModules } from "./docs/modules.ts";
import { freePort, startTied } from "./process.ts";
import { provideBinary } from "./servers.ts";

const run = promisify(execFile);
const LOADER = join(ROOT, "scripts", "typescript.js");
const MAIN = join(ROOT, "src", "cli", "main.ts");

/** `ts` compiles, `console` is typed in, `json` is JSON; of `sh` those of docs/start.md run; `text` and `http` are shown. */
const LANGUAGES = ["ts", "console", "sh", "json", "text", "http"];

const pages = readPages();
let folder: string;
/** For programs that pages start: the package is this checkout, and curl is found wherever it is. */
let environment: Readonly<Record<string, string>>;

beforeAll(async () => {
  const curl = await provideBinary("curl", "curl");
  mkdirSync(join(ROOT, ".cache"), { recursive: true });
  // Below the repository, where its packages are found.
  folder = mkdtempSync(join(ROOT, ".cache", "docs-"));
  // `npm ci` here would take the packages away under every other test: no command of a page may come to it.
  const refused = join(folder, "refused");
  mkdirSync(refused);
  for (const name of ["npm", "npx"]) {
    writeFileSync(join(refused, name), "#!/bin/sh\nexit 99\n", { mode: 0o755 });
  }
  environment = {
    PATH: [refused, dirname(process.execPath), dirname(curl), process.env.PATH ?? ""].join(":"),
    TSX_TSCONFIG_PATH: join(ROOT, "tsconfig.json"),
  };
  for (const page of pages) {
    mkdirSync(folderOf(page));
    writeModules(folderOf(page), page);
  }
}, 300_000);

afterAll(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
});

describe("fences", () => {
  it("are of a kind that is checked", () => {
    const wrong = fencesOf(() => true).filter(({ fence }) => !LANGUAGES.includes(fence.language));
    expect(wrong.map(({ place }) => place)).toEqual([]);
  });

  it("of TypeScript compile", async () => {
    // A page may name what it does not go on to use.
    const compilerOptions = { noUnusedLocals: false, noUnusedParameters: false };
    const config = { extends: join(ROOT, "tsconfig.json"), compilerOptions, include: ["**/*.ts"] };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
    const compiled = run(process.execPath, [tsc, "--project", "."], { cwd: folder });
    const told = await compiled.then(
      ({ stdout }) => stdout,
      (error: { readonly stdout?: string; readonly message: string }) => error.stdout || error.message,
    );
    expect(told).toBe("");
  }, 120_000);

  it("of the shell can be read, and name scripts that there are", () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
      readonly scripts: Readonly<Record<string, string>>;
    };
    for (const { fence, place } of fencesOf(({ language }) => language === "sh")) {
      const { status, stderr } = spawnSync("bash", ["-n"], { input: fence.text, encoding: "utf8" });
      expect({ place, status, stderr }).toEqual({ place, status: 0, stderr: "" });
      for (const [, name = ""] of fence.text.matchAll(/\bnpm run ([\w:-]+)/g)) {
        expect(Object.keys(scripts), place).toContain(name);
      }
    }
  });

  it("of JSON are JSON, where they leave nothing out", () => {
    for (const { fence, place } of fencesOf(({ language }) => language === "json")) {
      if (!fence.text.includes("…")) expect(() => JSON.parse(fence.text), place).not.toThrow();
    }
  });
});

describe("what a page shows is what happens:", () => {
  it("the README's program answers its curl line as it shows", async () => {
    const page = pageOf("README.md");
    const program = page.fences.find(({ language }) => language === "ts") as Fence;
    const { text } = page.fences.find(({ language }) => language === "console") as Fence;
    const port = await freePort();
    const here = (line: string) => line.replaceAll("2020", `${port}`);
    const file = join(folderOf(page), "program.ts");
    writeFileSync(file, here(program.text).replace("./data/", `${folderOf(page)}/`));
    expect(readFileSync(file, "utf8")).toContain(`port: ${port}`);
    const server = startTied([process.execPath, "--import", LOADER, file], {
      workingDirectory: folderOf(page),
      environment,
    });
    try {
      await Promise.race([
        listening(port),
        server.ended.then(({ output }) => Promise.reject(new Error(output))),
      ]);
      const [command = "", ...shown] = text.split("\n");
      const { stdout } = await bash(here(command.replace(/^\$ /, "")), folderOf(page));
      const lines = stdout.split("\r\n");
      expect(shown[0]).toBe("HTTP/1.1 202 Accepted");
      for (const line of shown) expect(lines).toContainEqual(expect.stringMatching(patternOf(here(line))));
      const monitor = /^location: (.*)$/m.exec(stdout)?.[1]?.trim() as string;
      const answer = await fetch(monitor, { headers: { prefer: "wait=30" } });
      expect({ redirected: answer.redirected, result: await answer.json() }).toEqual({
        redirected: true,
        result: { words: 4 },
      });
    } finally {
      await server.stop();
    }
  }, 120_000);

  it("the commands of docs/start.md run in their order, and are answered with the status that is shown", async () => {
    const page = pageOf("docs/start.md");
    // Outside of the repository: nothing that a page has its reader type may reach it.
    const at = mkdtempSync(join(tmpdir(), "coatcheck-docs-"));
    const server = await startServer(at);
    try {
      const { host } = new URL(server.url);
      // What installs and starts a server was done before.
      const commands = page.fences.filter(
        ({ language, text }) => language === "sh" && !/\bnp[mx]\b/.test(text),
      );
      const script = commands.map(({ text }) => `${text}\necho\necho "=== fence ==="\n`).join("");
      const { stdout } = await bash(script.replaceAll(/(?:127\.0\.0\.1|localhost):2020/g, host), at);
      const printed = stdout.split("=== fence ===").slice(0, -1);
      expect(printed).toHaveLength(commands.length);
      for (const [index, fence] of commands.entries()) {
        const next = page.fences[page.fences.indexOf(fence) + 1];
        if (next?.language !== "text" && next?.language !== "http") continue;
        // What a fence leaves out of an answer it leaves out; of what it shows, the status line has to be so.
        const place = `docs/start.md:${fence.line}`;
        expect({ place, answers: answersOf(printed[index] as string) }).toEqual({
          place,
          answers: answersOf(next.text),
        });
      }
    } finally {
      await server.stop();
      rmSync(at, { recursive: true, force: true, maxRetries: 3 });
    }
  }, 240_000);

  it("commands of coatcheck do what they are typed for, in a folder with the page's files", async () => {
    for (const { page, fence, place } of fencesOf(({ language }) => language === "console")) {
      if (page.path === "README.md") continue;
      const commands = fence.text.split("\n").filter((line) => line.startsWith("$ "));
      expect(commands.length, place).toBeGreaterThan(0);
      for (const command of commands) {
        expect(command, place).toMatch(/^\$ coatcheck (?!serve)/);
        await bash(
          `coatcheck() { node --import '${LOADER}' '${MAIN}' "$@"; }\n${command.slice(2)}`,
          folderOf(page),
        );
      }
    }
  }, 120_000);
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

  it("and paths that ARCHITECTURE.md names lead to files that there are", () => {
    const named =
      proseOf(pageOf("ARCHITECTURE.md")).match(/(?<=`)[\w-]+(?:\/[\w.-]+)+(?:\.ts|\/)(?=`)/g) ?? [];
    expect(named.length).toBeGreaterThan(10);
    expect(
      named.filter((path) => !existsSync(join(ROOT, "src", path)) && !existsSync(join(ROOT, path))),
    ).toEqual([]);
  });

  it("reach every page of docs/ from another", () => {
    const linked = new Set(
      pages.flatMap((page) =>
        linksOf(page)
          .map((target) =>
            posix.join(dirname(page.path), target.split("#", 1)[0] as string).replace(/\/$/, ""),
          )
          .filter((target) => target !== page.path),
      ),
    );
    // A link to a folder shows all that lies in it.
    const lost = pages.filter(({ path }) => !linked.has(path) && !linked.has(posix.dirname(path)));
    expect(lost.map(({ path }) => path).filter((path) => path.startsWith("docs/"))).toEqual([]);
  });
});

describe("docs/reference/problems.md", () => {
  const page = pages.find(({ path }) => path === "docs/reference/problems.md");
  const sections = [...(page?.text ?? "").matchAll(/^### `([\w-]+)` · (\d{3})\n\n\*\*(.+)\*\* (.+)$/gm)];

  it("lists every problem of the catalogue, in its order, with its status, title and help", () => {
    const told = sections.map(([, name, status, title, help]) => ({
      name,
      status: Number(status),
      title,
      help,
    }));
    const known = Object.entries(PROBLEMS).map(([name, { status, title, help }]) => ({
      name,
      status,
      title: `${title}.`,
      help,
    }));
    expect(told).toEqual(known);
  });

  it("has no section that is none of them", () => {
    expect(proseOf(pageOf("docs/reference/problems.md")).match(/^### /gm)).toHaveLength(sections.length);
  });
});

it("every decision is numbered without a gap, and says its context, its decision and what follows", () => {
  const decisions = pages.filter(({ path }) => path.startsWith("docs/decisions/"));
  expect(decisions).not.toEqual([]);
  for (const [index, { path, text }] of decisions.entries()) {
    const number = String(index + 1).padStart(3, "0");
    expect(path).toMatch(new RegExp(`^docs/decisions/${number}-[a-z0-9-]+\\.md$`));
    expect(text).toMatch(new RegExp(`^# ${number}: `));
    for (const part of ["Context", "Decision", "Consequence"]) expect(text).toContain(`**${part}.**`);
  }
});

function pageOf(path: string): Page {
  const page = pages.find((candidate) => candidate.path === path);
  if (page === undefined) throw new Error(`There is no ${path}.`);
  return page;
}

/** The folder of a page's modules and of what its commands leave behind. */
function folderOf({ path }: Page): string {
  return join(folder, path.replace(/\.md$/, "").replaceAll("/", "-").toLowerCase());
}

function fencesOf(which: (fence: Fence) => boolean) {
  return pages.flatMap((page) =>
    page.fences.filter(which).map((fence) => ({ page, fence, place: `${page.path}:${fence.line}` })),
  );
}

/** Runs a script that ends at the first command that fails. */
function bash(script: string, workingDirectory: string) {
  return run("bash", ["-e", "-c", script], {
    cwd: workingDirectory,
    env: { ...process.env, ...environment },
  });
}

/** The status lines of answers, in their order. */
function answersOf(text: string): readonly string[] {
  return text.match(/^HTTP\/1\.1 \d{3} [A-Za-z ]+/gm) ?? [];
}

/** A header line as it is shown: its id is one of many, and an estimate is one of many seconds. */
function patternOf(line: string): RegExp {
  const escaped = line.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  const loose = escaped.replace(/\b[0-9a-hjkmnp-tv-z]{26}\b/, "[0-9a-hjkmnp-tv-z]{26}");
  return new RegExp(`^${loose.replace(/(?<=^retry-after: )\d+/, "\\d+")}$`);
}

function leadsSomewhere(page: Page, target: string): boolean {
  const [path = "", anchor] = target.split("#");
  const place = path === "" ? page.path : posix.join(dirname(page.path), path);
  if (!existsSync(join(ROOT, place))) return false;
  if (anchor === undefined || statSync(join(ROOT, place)).isDirectory()) return true;
  const other = pages.find((candidate) => candidate.path === place);
  return other !== undefined && anchorsOf(other).has(anchor);
}

/** Resolves once something listens there. */
async function listening(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const isUp = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    socket.destroy();
    if (isUp) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
