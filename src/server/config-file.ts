// The configuration file: where it is, and what it exports.

import { readdir, readFile } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

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
export async function importNamed(specifier: string, from: string, name: string): Promise<unknown> {
  const [module = "", exported = "default"] = specifier.split("#");
  const url = moduleUrl(module, from);
  let all: Readonly<Record<string, unknown>>;
  try {
    all = (await import(url.href)) as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw new RangeError(`${name}: ${sentenceOf(error, module)}`, { cause: error });
  }
  if (all[exported] === undefined) throw new RangeError(`${name}: ${module} exports no "${exported}".`);
  return all[exported];
}

/** The URL of a module that a file names: a path from that file, or a URL. */
export function moduleUrl(module: string | URL, from: string): URL {
  return module instanceof URL ? module : new URL(module, pathToFileURL(from));
}

function sentenceOf(error: unknown, path: string): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || (code === "ERR_MODULE_NOT_FOUND" && message.includes(path))) {
    return `There is no ${path}.`;
  }
  if (code === "ERR_UNKNOWN_FILE_EXTENSION") {
    return `This Node can't run ${path} as it is: use Node 22.18 or later, or write it in JavaScript.`;
  }
  return `${path} can't be loaded: ${message.split("\n", 1)[0]?.replace(/\.?$/, ".")}`;
}
