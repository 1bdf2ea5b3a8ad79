#!/usr/bin/env node
// The command line: finds the command, and says in one sentence what is wrong where something is.

import { didYouMean } from "../server/spelling.ts";
import { VERSION } from "../version.ts";
import { type Command, UsageError } from "./command.ts";

// Each is loaded when it is asked for: help need not wait for a server.
const COMMANDS: Readonly<Record<string, { readonly summary: string; load(): Promise<Command> }>> = {
  serve: { summary: "Runs a server.", load: async () => (await import("./serve.ts")).serve },
  work: { summary: "Works, without serving.", load: async () => (await import("./work.ts")).work },
  keys: { summary: "Makes, lists and revokes API keys.", load: async () => (await import("./keys.ts")).keys },
  migrate: {
    summary: "Moves a store's jobs to another store.",
    load: async () => (await import("./migrate.ts")).migrate,
  },
  openapi: {
    summary: "Prints the OpenAPI document.",
    load: async () => (await import("./openapi.ts")).openapi,
  },
};

// `coatcheck openapi | head` is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
process.exitCode = await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<number> {
  const [name, ...rest] = words;
  try {
    if (name === "--version" || name === "-v") return print(VERSION);
    if (name === undefined || name === "--help" || name === "-h") return print(overview());
    if (name === "help") return print(rest[0] === undefined ? overview() : (await commandOf(rest[0])).help);
    const command = await commandOf(name);
    if (rest.includes("--help") || rest.includes("-h")) return print(command.help);
    return await command.run(rest);
  } catch (error) {
    return explain(error);
  }
}

async function commandOf(name: string): Promise<Command> {
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command !== undefined) return await command.load();
  const what = name.startsWith("-") ? "option" : "command";
  throw new UsageError(
    `There is no ${what} "${name}".${didYouMean(name, Object.keys(COMMANDS))} See \`coatcheck --help\`.`,
  );
}

function overview(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const list = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return `Coatcheck: slow operations behind a complete 202 API.

Usage: coatcheck COMMAND [options]

${list.join("\n")}

  coatcheck COMMAND --help  explains a command
  coatcheck --version       prints the version`;
}

/** Mistakes of whoever typed or wrote the configuration end with 2; everything else that went wrong with 1. */
function explain(error: unknown): number {
  const { name, mistakes } = error as Error & { readonly mistakes?: readonly string[] };
  for (const sentence of mistakes ?? [sentenceOf(error)]) process.stderr.write(`coatcheck: ${sentence}\n`);
  return name === "UsageError" || mistakes !== undefined ? 2 : 1;
}

function sentenceOf(error: unknown): string {
  const { code, message, name, stack, address, port } = error as NodeJS.ErrnoException & {
    readonly address?: string;
    readonly port?: number;
  };
  if (code === "EADDRINUSE") return `Something else listens on ${address}:${port}: choose another --port.`;
  if (code === "EADDRNOTAVAIL") return `${address} is no address of this machine: choose another --host.`;
  if (code === "EACCES" && port !== undefined)
    return `Port ${port} may not be listened on: choose another --port.`;
  // These are sentences for people; of anything else only the stack says where it comes from.
  const isSentence = /^(?:UsageError|StoreUnusable|StoreUnavailable|MoveRefused)$/.test(name);
  if (isSentence || code !== undefined) return message;
  return stack ?? message;
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}
