// Settings: what was said on the command line, in the environment and in a file, the first of these that says something.

import { VARIABLES } from "./options.ts";

/** Options that the command line sets, by path. */
export type Flags = Readonly<Record<string, string | undefined>>;
export type Environment = Readonly<Record<string, string | undefined>>;

/** Reads options one by one and gathers every mistake on the way. */
export class Settings {
  readonly mistakes: string[] = [];
  readonly #flags: Flags;
  readonly #environment: Environment;
  readonly #file: unknown;

  constructor(file: unknown, environment: Environment, flags: Flags) {
    this.#file = file;
    this.#environment = environment;
    this.#flags = flags;
  }

  /**
   * The value of an option, made by `parse` from what was said, or the fallback where nothing was, or something wrong.
   * `parse` throws an error of one sentence; `name` is what the option is called where it was said.
   */
  read<Value, Fallback = Value>(
    path: string,
    fallback: Fallback,
    parse: (said: unknown, name: string) => Value,
  ): Value | Fallback {
    const { said, name } = this.said(path);
    if (said === undefined) return fallback;
    try {
      return parse(said, name);
    } catch (error) {
      this.mistakes.push((error as Error).message);
      return fallback;
    }
  }

  /** What was said of an option, and by which name; undefined where nothing was. */
  said(path: string): { readonly said: unknown; readonly name: string } {
    const flag = this.#flags[path];
    if (flag !== undefined) return { said: flag, name: `--${path.replace(/[A-Z]/g, "-$&").toLowerCase()}` };
    const variable = VARIABLES.find(({ option }) => option === path)?.name;
    // A variable that is empty counts as one that is not there, as shells and container files have it.
    const value = variable === undefined ? undefined : this.#environment[variable];
    if (variable !== undefined && value !== undefined && value !== "") return { said: value, name: variable };
    return { said: at(this.#file, path), name: path };
  }
}

function at(value: unknown, path: string): unknown {
  let inner = value;
  for (const name of path.split(".")) {
    if (typeof inner !== "object" || inner === null) return undefined;
    inner = (inner as Readonly<Record<string, unknown>>)[name];
  }
  return inner;
}

/** Text; nothing else. */
export function text(said: unknown, name: string): string {
  if (typeof said === "string" && said !== "") return said;
  throw new RangeError(`${name} must be text.`);
}

/** One of a few words. */
export function oneOf<const Word extends string>(...words: readonly Word[]) {
  return (said: unknown, name: string): Word => {
    if (words.includes(said as Word)) return said as Word;
    throw new RangeError(`${name} must be ${words.slice(0, -1).join(", ")} or ${words.at(-1)}.`);
  };
}

/** A whole number, also as the digits of it. */
export function whole(least: number, most: number) {
  return (said: unknown, name: string): number => {
    const value = typeof said === "string" && /^\d{1,15}$/.test(said) ? Number(said) : said;
    if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
    throw new RangeError(`${name} must be a whole number from ${least} to ${most}.`);
  };
}

/** True or false, also as text. */
export function yesOrNo(said: unknown, name: string): boolean {
  if (typeof said === "boolean") return said;
  if (said === "true" || said === "false") return said === "true";
  throw new RangeError(`${name} must be true or false.`);
}

/** A list of text; in the environment its items are separated by commas, and a single item needs no list. */
export function listOf<Item>(parse: (said: unknown, name: string) => Item) {
  return (said: unknown, name: string): readonly Item[] => {
    const items = typeof said === "string" ? said.split(",").map((item) => item.trim()) : said;
    if (!Array.isArray(items)) throw new RangeError(`${name} must be a list.`);
    return items.map((item) => parse(item, name));
  };
}
