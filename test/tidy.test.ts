// The rules of the house, as ARCHITECTURE.md tells them. An exception is listed here, with its reason, or it is a mistake.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { basename, dirname, join, posix, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Rooms by layer, the lowest first. Imports run down only. */
const LAYERS: readonly (readonly string[])[] = [
  ["core", "version.ts"],
  ["protocol", "store", "blob"],
  ["ledger", "worker", "executor", "http", "client", "telemetry", "testing"],
  ["server"],
  ["cli", "index.ts"],
];

/** Imports that do not run down, and why they may be. */
const SIDEWAYS: Readonly<Record<string, string>> = {
  "src/blob/file.ts → src/store/store.ts": "a full disk is the same 503, whichever port met it",
};

/** What the pure rooms take of Node's types, and why they may. */
const NODE_TYPES: Readonly<Record<string, string>> = {
  "src/core/handler.ts → node:stream": "an upload is read as a stream by handlers, and those run in Node",
};

/** Where ports are implemented. */
const IMPLEMENTATIONS =
  /^src\/(?:store\/memory|store\/sqlite\/[\w-]+|store\/embedded\/[\w-]+|blob\/file)\.ts$/;

const MACHINE = "src/core/machine.ts";

/** Places besides the machine where a status stands as a value, and why it is none that is written. */
const STATUS_TOLD: Readonly<Record<string, string>> = {
  "src/store/embedded/book.ts":
    "catchUp tells the roster where a row stood before another process changed it",
  "src/ledger/estimates.ts": "what the estimate is asked about",
};

/** Longer files, and why they are not two. */
const LONG: Readonly<Record<string, { readonly lines: number; readonly why: string }>> = {
  "src/testing/model/play.ts": { lines: 410, why: "a list of steps is played and judged by one walk" },
  "src/store/postgres/work.ts": {
    lines: 440,
    why: "what one transaction locks, decides and writes is read in one go",
  },
};

const MOST_LINES = 400;
const FORBIDDEN_NAMES = [
  "utils",
  "util",
  "helpers",
  "helper",
  "common",
  "types",
  "manager",
  "service",
  "base",
  "misc",
];

/** Modules whose default export is how they are loaded: by the worker, the command line, or the bench. */
const LOADED_BY_DEFAULT = [
  /^examples\/[\w-]+\/handler\.ts$/,
  /(?:^|\/)[\w-]+\.config\.ts$/,
  /^test\/isolated-handler\.ts$/,
  /^test\/crash\/(?:operations|server)\.ts$/,
  /^bench\/ours\.ts$/,
];

const FOLDERS = ["src", "test", "examples", "bench", "scripts", "docs", ".ci"];
const GENERATED = new Set(["node_modules", "dist", "data", "results", ".cache"]);

interface Imported {
  readonly from: string;
  /** As it is written. */
  readonly specifier: string;
  /** The file in this repository; null for a package. */
  readonly to: string | null;
  readonly isType: boolean;
}

const files = [...FOLDERS.flatMap(filesBelow), ...filesHere()].sort();
const texts = new Map(files.map((file) => [file, readFileSync(join(ROOT, file), "utf8")]));
const code = files.filter((file) => /\.(?:ts|js)$/.test(file));
const source = code.filter((file) => file.startsWith("src/") && !isTest(file));
const imports = code.flatMap(importsOf);
const sourceImports = imports.filter(({ from }) => source.includes(from));
const manifest = JSON.parse(texts.get("package.json") as string) as {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly scripts: Readonly<Record<string, string>>;
};

describe("imports", () => {
  it("run down only: from a room to the rooms below it", () => {
    const wrong = sourceImports.flatMap(({ from, to }) => {
      if (to === null) return [];
      const [room, other] = [roomOf(from), roomOf(to)];
      if (room === other || layerOf(other) < layerOf(room)) return [];
      const edge = `${from} → ${to}`;
      return edge in SIDEWAYS ? [] : [edge];
    });
    expect(wrong).toEqual([]);
  });

  it("know every room: a new folder of src/ has a layer", () => {
    expect([...new Set(source.map(roomOf))].filter((room) => layerOf(room) < 0)).toEqual([]);
  });

  it("list no exception that is none", () => {
    const edges = new Set(imports.map(({ from, to, specifier }) => `${from} → ${to ?? specifier}`));
    const listed = [...Object.keys(SIDEWAYS), ...Object.keys(NODE_TYPES)];
    expect(listed.filter((edge) => !edges.has(edge))).toEqual([]);
  });

  it("of core, protocol and client bring in nothing of Node", () => {
    const wrong = sourceImports
      .filter(({ from, specifier }) => (isPure(from) || roomOf(from) === "client") && isBuiltin(specifier))
      .map((found) => ({ edge: `${found.from} → ${found.specifier}`, isType: found.isType }))
      .filter(({ edge, isType }) => !(isType && edge in NODE_TYPES));
    expect(wrong.map(({ edge }) => edge)).toEqual([]);
  });

  it("of core and protocol reach no global of Node either, and no clock or dice", () => {
    const globals =
      /\b(?:process|Buffer|Date\.now|Math\.random|performance)\b[.(]|\b(?:setTimeout|setInterval|setImmediate)\(/;
    const wrong = source.filter(isPure).flatMap((file) => linesWith(file, globals));
    expect(wrong.filter((line) => !isComment(line))).toEqual([]);
  });

  it("name an implementation of a port in server/ only", () => {
    const wrong = sourceImports.filter(({ from, to }) => {
      if (to === null || !IMPLEMENTATIONS.test(to)) return false;
      return roomOf(from) !== "server" && roomOf(from) !== roomOf(to);
    });
    expect(wrong.map(({ from, to }) => `${from} → ${to}`)).toEqual([]);
  });

  it("that are relative end in .ts and lead to a file", () => {
    const wrong = imports.filter(({ from, specifier, to }) => {
      if (to === null || !from.endsWith(".ts")) return false;
      return !specifier.endsWith(".ts") || !texts.has(to);
    });
    expect(wrong.map(({ from, specifier }) => `${from} → ${specifier}`)).toEqual([]);
  });

  it("of packages name one that package.json depends on", () => {
    const { dependencies, peerDependencies } = manifest;
    const known = new Set([...Object.keys(dependencies), ...Object.keys(peerDependencies)]);
    const wrong = sourceImports.filter(({ to, specifier }) => {
      if (to !== null || specifier.startsWith("node:")) return false;
      const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
      return !known.has(name);
    });
    expect(wrong.map(({ from, specifier }) => `${from} → ${specifier}`)).toEqual([]);
  });
});

describe("files", () => {
  it("write a status in the machine only", () => {
    const apart = (file: string) => file === MACHINE || roomOf(file) === "testing" || file in STATUS_TOLD;
    expect(source.filter((file) => !apart(file)).flatMap(statusesIn)).toEqual([]);
    expect(statusesIn(MACHINE)).not.toEqual([]);
  });

  it("begin with a comment that says what they are for", () => {
    // A test stands beside what it tests and is called so.
    const wrong = code.filter(
      (file) => !isTest(file) && !/^(?:#!.*\n)?(?:\/\/|\/\*\*?) ?\S/.test(text(file)),
    );
    expect(wrong).toEqual([]);
  });

  it(`have ${MOST_LINES} lines at most`, () => {
    // Tests are lists of what is true, and may be longer.
    const wrong = code
      .filter((file) => !isTest(file))
      .map((file) => ({ file, lines: text(file).split("\n").length - 1 }))
      .filter(({ file, lines }) => lines > (LONG[file]?.lines ?? MOST_LINES));
    expect(wrong.map(({ file, lines }) => `${file}: ${lines}`)).toEqual([]);
  });

  it("are called by what they hold, not by what they are kept for", () => {
    const parts = (file: string) => file.replace(/\.[^/]*$/, "").split(/[/.]/);
    expect(code.filter((file) => parts(file).some((part) => FORBIDDEN_NAMES.includes(part)))).toEqual([]);
  });

  it("are in kebab case", () => {
    const names = code.map((file) => basename(file).replace(/(?:\.test|\.config)?\.(?:ts|js)$/, ""));
    expect(names.filter((name) => !/^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(name))).toEqual([]);
  });

  it("put nothing off", () => {
    // Spelled apart, so that this file keeps the rule too.
    const words = new RegExp(`\\b(?:${["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"].join("|")})\\b`);
    expect(files.flatMap((file) => linesWith(file, words))).toEqual([]);
  });

  it("name no place of somebody's machine", () => {
    const places = ["home", "Users", "root", "work", "mnt", "private/var"]
      .map((name) => `/${name}/`)
      .join("|");
    const path = new RegExp(`(?:^|["'\`(\\s=:])(?:${places})[\\w.-]|\\b[A-Z]:\\\\\\w`);
    expect(files.flatMap((file) => linesWith(file, path))).toEqual([]);
  });

  it("name no place where packages come from", () => {
    const hosts = ["registry", "npm", "mirror", "artifactory", "nexus", "verdaccio"].join("|");
    const host = new RegExp(`\\b(?:${hosts})[\\w-]*(?:\\.[\\w-]+)+(?::\\d+)?/|"resolved": ?"https?:`);
    const wrong = [...files, "package-lock.json"].flatMap((file) => linesWith(file, host));
    expect(wrong.filter((line) => !/\bwww\./.test(line))).toEqual([]);
  });

  it("export by name, but for what is loaded by its default", () => {
    const wrong = code.filter((file) => !LOADED_BY_DEFAULT.some((pattern) => pattern.test(file)));
    expect(wrong.flatMap((file) => (isTest(file) ? [] : linesWith(file, /^export default\b/)))).toEqual([]);
  });

  it("leave no test out", () => {
    const left = new RegExp(
      `\\b(?:it|test|describe)(?:\\.each\\S*)?\\.(?:${["sk" + "ip", "on" + "ly", "to" + "do"].join("|")})\\(`,
    );
    expect(code.filter(isTest).flatMap((file) => linesWith(file, left))).toEqual([]);
  });

  it("list no exception that is none", () => {
    const idle = Object.keys(STATUS_TOLD).filter(
      (file) => !source.includes(file) || statusesIn(file).length === 0,
    );
    const short = Object.keys(LONG).filter(
      (file) => !source.includes(file) || text(file).split("\n").length - 1 <= MOST_LINES,
    );
    expect([...idle, ...short]).toEqual([]);
  });
});

describe("the package", () => {
  it("has scripts that run files that are there", () => {
    const named = Object.values(manifest.scripts).flatMap(
      (line) => line.match(/[\w./-]+\.(?:js|ts)\b/g) ?? [],
    );
    expect(named.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
  });
});

function text(file: string): string {
  return texts.get(file) ?? readFileSync(join(ROOT, file), "utf8");
}

function isTest(file: string): boolean {
  return file.endsWith(".test.ts") || file.endsWith(".test.js");
}

function isPure(file: string): boolean {
  return roomOf(file) === "core" || roomOf(file) === "protocol";
}

/** The folder below src/, or the file that lies in it. */
function roomOf(file: string): string {
  return file.split("/")[1] as string;
}

function layerOf(room: string): number {
  return LAYERS.findIndex((rooms) => rooms.includes(room));
}

/** The lines of a file that hold it, each with its place. */
function linesWith(file: string, what: RegExp): string[] {
  return text(file)
    .split("\n")
    .flatMap((line, index) => (what.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : []));
}

function isComment(line: string): boolean {
  return /^\S+: (?:\/\/|\/?\*)/.test(line);
}

/** Lines where a status stands as a value, neither compared nor the type of something, or where a job is copied to be changed. */
function statusesIn(file: string): string[] {
  const value =
    /\bstatus\s*(?::|=(?!=))(?:[^,;]*\?)?\s*["'`](?:queued|processing|completed|failed|canceled)["'`]|\.\.\.(?:[\w#]+\.)*job\b/;
  return linesWith(file, value).filter((line) => !isComment(line) && !/\breadonly\b/.test(line));
}

function importsOf(file: string): Imported[] {
  const statements =
    /^(?:import|export)\s+(type\s+)?(?:[^;"']*?\sfrom\s+)?["']([^"']+)["']|\b(import)\(\s*["']([^"']+)["']\s*\)/gm;
  return [...text(file).matchAll(statements)].map((match) => {
    const specifier = (match[2] ?? match[4]) as string;
    const to = specifier.startsWith(".") ? posix.join(dirname(file), specifier) : null;
    // `import("x").Y` in the place of a type is no import at run time.
    const after = text(file)[match.index + match[0].length];
    return {
      from: file,
      specifier,
      to,
      isType: match[1] !== undefined || (match[3] !== undefined && after === "."),
    };
  });
}

function filesBelow(folder: string): string[] {
  return existsSync(join(ROOT, folder))
    ? filesIn(join(ROOT, folder)).map((file) => posix.join(folder, file))
    : [];
}

/** What lies in the repository's own folder, by the names that people wrote. */
function filesHere(): string[] {
  return readdirSync(ROOT, { withFileTypes: true })
    .filter(
      (entry) =>
        entry.isFile() && /\.(?:ts|js|json|md)$/.test(entry.name) && entry.name !== "package-lock.json",
    )
    .map((entry) => entry.name);
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .filter((file) => !file.split("/").some((part) => GENERATED.has(part)))
    .filter((file) => /\.(?:ts|js|json|md|svg|lua|d\.ts)$|\/?run$/.test(file));
}
