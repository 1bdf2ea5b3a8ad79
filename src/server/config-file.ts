// The configuration file: where it is, and what it exports.

import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** The names that are looked for in the working directory. */
export const CONFIG_FILES: readonly string[] = ["ts", "mts", "js", "mjs", "json"].map(
  (extension) => `coatcheck.config.${extension}`,
);

/** The file that was named, or the one that lies in the directory; null where there is none. Throws one sentence. */
export async function findConfigFile(named: string | undefined, directory: string): Promise<string | null> {
  if (named !== undefined) return resolve(directory, named);
  const present = await readdir(directory).catch((): string[] => []);
  const found = CONFIG_FILES.filter((name) => present.includes(name));
  if (found.length > 1) throw new RangeError(`There are ${found.join(" and ")}: say which one by --config.`);
  return found[0] === undefined ? null : join(directory, found[0]);
}

/** What the file exports by default, or the JSON that it is. Throws an error of one sentence. */
export async function readConfigFile(path: string): Promise<unknown> {
  if (!existsSync(path)) throw new RangeError(`There is no ${path}.`);
  try {
    if (extname(path) === ".json") return JSON.parse(await readFile(path, "utf8"));
    const exported = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
    if (exported.default !== undefined) return exported.default;
  } catch (error) {
    throw new RangeError(sentenceOf(error, path), { cause: error });
  }
  throw new RangeError(`${path} has no default export: write \`export default defineConfig({ … })\`.`);
}

/** What a specifier such as `./operations.js#renderReport` names. Throws an error of one sentence. */
export async function importNamed(specifier: string | URL, from: string, name: string): Promise<unknown> {
  const [module = "", exported = "default"] = String(specifier).split("#");
  const url = findModule(module, from, name);
  let all: Readonly<Record<string, unknown>>;
  try {
    all = (await import(url.href)) as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw new RangeError(`${name}: ${sentenceOf(error, String(module))}`, { cause: error });
  }
  if (all[exported] === undefined) throw new RangeError(`${name}: ${module} exports no "${exported}".`);
  return all[exported];
}

/** The URL of a module that a file names: a path from that file, or a URL. Throws an error of one sentence. */
export function findModule(module: string | URL, from: string, name: string): URL {
  const url = module instanceof URL ? module : new URL(module, pathToFileURL(from));
  if (url.protocol === "file:" && existsSync(fileURLToPath(url))) return url;
  throw new RangeError(`${name}: there is no ${module}.`);
}

function sentenceOf(error: unknown, path: string): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ERR_UNKNOWN_FILE_EXTENSION") {
    // It may be one that the file imports.
    const which = / for (\S+)$/m.exec(message)?.[1] ?? path;
    return `This Node can't run ${which} as it is: use Node 22.18 or later, or write it in JavaScript.`;
  }
  if (code === "ERR_REQUIRE_CYCLE_MODULE") {
    return `${path} is not taken for an ES module: name it .mts, or set "type": "module" in the package.json beside it.`;
  }
  return `${path} can't be loaded: ${message.split("\n", 1)[0]?.replace(/\.?$/, ".")}`;
}
