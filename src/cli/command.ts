// A command: how its words are read, and how it says what is wrong with them.

import { type ParseArgsConfig, parseArgs } from "node:util";
import { didYouMean } from "../server/spelling.ts";

export interface Command {
  /** What `coatcheck COMMAND --help` prints. */
  readonly help: string;
  /** Resolves with the exit code. Throws a `UsageError` where its words make no sense. */
  run(words: readonly string[]): Promise<number>;
}

/** What was typed makes no sense: one plain sentence, and exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

type Options = NonNullable<ParseArgsConfig["options"]>;

type Parsed<O extends Options> = {
  readonly values: { readonly [Name in keyof O]?: O[Name]["type"] extends "boolean" ? boolean : string };
  readonly positionals: readonly string[];
};

/** Reads the options and at most `positionals` further words. Throws a `UsageError`. */
export function readWords<const O extends Options>(
  words: readonly string[],
  options: O,
  positionals = 0,
): Parsed<O> {
  const {
    values,
    positionals: rest,
    tokens,
  } = parseArgs({
    args: [...words],
    options,
    strict: false,
    tokens: true,
    allowPositionals: true,
  });
  const seen = new Set<string>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const known = options[token.name];
    if (known === undefined) {
      const names = Object.keys(options).map((name) => `--${name}`);
      throw new UsageError(`There is no option ${token.rawName}.${didYouMean(`--${token.name}`, names)}`);
    }
    if (known.type === "string" && (token.value === undefined || token.value === "")) {
      throw new UsageError(`The option ${token.rawName} needs a value.`);
    }
    if (known.type === "boolean" && token.value !== undefined) {
      throw new UsageError(`The option ${token.rawName} takes no value.`);
    }
    if (seen.has(token.name)) throw new UsageError(`The option ${token.rawName} may be given once.`);
    seen.add(token.name);
  }
  const extra = rest[positionals];
  if (extra !== undefined) throw new UsageError(`"${extra}" is one word too many.`);
  return { values: values as Parsed<O>["values"], positionals: rest };
}
