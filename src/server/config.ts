// The configuration of a server: what the file, the environment and the command line amount to.

import { isIP } from "node:net";
import { resolve } from "node:path";
import { type Duration, parseDuration } from "../core/duration.ts";
import type { Handler } from "../core/handler.ts";
import type { Operation } from "../core/operation.ts";
import { readyOperations } from "../core/operations.ts";
import { readTier, readTiers, type TierOptions, type Tiers } from "../http/tiers.ts";
import { LOG_LEVELS, type LogLevel } from "../telemetry/log.ts";
import { type AccessConfig, isLoopback, readAccess } from "./config-access.ts";
import { findConfigFile, findModule, importNamed, readConfigFile } from "./config-file.ts";
import type { OperationEntry } from "./config-options.ts";
import { misspeltVariables, unknownOptions } from "./options.ts";
import { type Environment, type Flags, listOf, oneOf, Settings, text, whole, yesOrNo } from "./settings.ts";
import { filesOf, readStoreUrl } from "./store-url.ts";

/** A configuration with every default filled in and every value checked. Paths are absolute. */
export interface Config {
  /** The file it was read from; null without one. */
  readonly path: string | null;
  readonly operations: readonly ConfiguredOperation[];
  /** `sqlite:` and an absolute path, `memory:`, or the URL of a database. */
  readonly store: string;
  /** Null: for the desk to find, as it goes with the store. */
  readonly files: string | null;
  readonly host: string;
  readonly port: number;
  /** Without a slash at its end; null: the address that the server listens on. */
  readonly publicUrl: string | null;
  readonly access: AccessConfig;
  /** With `limits` applied. */
  readonly tiers: Tiers;
  readonly limits: "on" | "off";
  /** Whether the server works, too. Default true. */
  readonly work?: boolean;
  /** Most attempts at once in one process, over all operations; null: no bound but those of the operations. */
  readonly concurrency?: number | null;
  /** Where `coatcheck work` tells how it is; null: nowhere. */
  readonly healthPort?: number | null;
  readonly cors: { readonly origins: readonly string[] };
  /** `pretty` null: on a terminal. */
  readonly log: { readonly level: LogLevel; readonly pretty: boolean | null };
  readonly shutdownGraceMs: number;
}

/** An operation, and the function that does its work here, or the module that does it in isolation. */
export type ConfiguredOperation = {
  readonly operation: Operation;
  /** Null: as the worker thinks right. */
  readonly concurrency: number | null;
  /** Most memory of an isolated handler's heap, in MiB; null: as the worker thinks right. */
  readonly memoryMb?: number | null;
} & (
  | { readonly handler: Handler; readonly module: null; readonly isolate: null }
  | { readonly handler: null; readonly module: URL; readonly isolate: "thread" | "process" }
  // Accepted here, worked elsewhere.
  | { readonly handler: null; readonly module: null; readonly isolate: null }
);

/** Whether there is a handler for it here. */
export function isWorked({ handler, module }: ConfiguredOperation): boolean {
  return handler !== null || module !== null;
}

/** A configuration that can't be used: every mistake in it, each one sentence. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly mistakes: readonly string[];
  constructor(mistakes: readonly string[]) {
    super(mistakes.join("\n"));
    this.mistakes = mistakes;
  }
}

export interface ConfigSources {
  /** The configuration file; without it `coatcheck.config.{ts,mts,js,mjs,json}` of the working directory, if one is there. */
  readonly file?: string | undefined;
  /** A process that only works asks nobody who they are. Default `serve`. */
  readonly use?: "serve" | "work";
  /** What the command line says, by the option's path. */
  readonly flags?: Flags;
  /** Default `process.env`. */
  readonly environment?: Environment;
  /** Default `process.cwd()`. */
  readonly directory?: string;
}

/** Reads, checks and completes the configuration. Throws a `ConfigError` with every mistake at once. */
export async function loadConfig(sources: ConfigSources = {}): Promise<Config> {
  const { flags = {}, environment = process.env, directory = process.cwd() } = sources;
  let path: string | null;
  let file: unknown;
  try {
    path = await findConfigFile(sources.file, directory);
    if (path === null) throw new RangeError(NO_FILE);
    file = await readConfigFile(path);
  } catch (error) {
    throw new ConfigError([(error as Error).message]);
  }
  if (typeof file !== "object" || file === null || Array.isArray(file)) {
    throw new ConfigError([`${path} must give an object of options.`]);
  }
  const settings = new Settings(file, environment, flags);
  const { mistakes } = settings;
  mistakes.push(...unknownOptions(file), ...misspeltVariables(environment));
  const operations = await readOperations(settings, path);
  const limits = settings.read("limits", "on", oneOf("on", "off"));
  const tiers = settings.read("tiers", readTiers({}, limits), (said) => tiersOf(said, limits, mistakes));
  const access = sources.use === "work" ? NOBODY : await readAccess(settings, directory, tiers);
  const host = settings.read("host", "127.0.0.1", hostOf);
  const origins = settings.read("cors.origins", [], listOf(originOf));
  const store = settings.read("store", storeOf("sqlite:./data/coatcheck.db", directory), (said, name) =>
    storeOf(text(said, name), directory, name),
  );
  const config: Config = {
    path,
    operations,
    store,
    files: settings.read("files", filesBeside(store), (said, name) => resolve(directory, text(said, name))),
    host,
    port: settings.read("port", 2020, whole(0, 65_535)),
    publicUrl: settings.read("publicUrl", null, publicUrlOf),
    access,
    tiers,
    limits,
    work: settings.read("work", true, yesOrNo),
    concurrency: settings.read("concurrency", null, whole(1, 10_000)),
    healthPort: settings.read("healthPort", null, whole(0, 65_535)),
    cors: { origins },
    log: {
      level: settings.read("log.level", "info", oneOf(...LOG_LEVELS)),
      pretty: settings.read("log.pretty", null, yesOrNo),
    },
    shutdownGraceMs: settings.read("shutdownGrace", 25_000, graceOf),
  };
  if (sources.use === "work") mistakes.push(...workMistakes(config));
  else {
    if (access.kind === "open") mistakes.push(...openMistakes(host, origins));
    if (config.work === false && store === "memory:") mistakes.push(ALONE);
  }
  if (mistakes.length > 0) throw new ConfigError([...new Set(mistakes)]);
  return config;
}

/**
 * Each store has files of its own: what belongs to no job of it is removed from there. The desk says so where those
 * of a database are: it is asked for by all its servers.
 */
function filesBeside(store: string): string | null {
  const place = readStoreUrl(store);
  return place.kind === "sqlite" ? filesOf(place) : null;
}

const NOBODY: AccessConfig = { kind: "open", configKeys: [], keys: [], keysFile: null, jwt: null };

const ALONE =
  "A store in memory is this process's alone, so nobody else can do its work: choose another store.";

function workMistakes({ store, operations }: Config): string[] {
  const mistakes: string[] = [];
  if (store === "memory:") mistakes.push(ALONE);
  if (operations.length > 0 && !operations.some(isWorked))
    mistakes.push("No operation has a handler or a module, so there is nothing to work.");
  return mistakes;
}

const NO_FILE =
  "There is no configuration: name one by --config, or write coatcheck.config.ts (or .mts, .js, .mjs, .json) here.";

// Whoever reaches an open server may do everything, so nobody but this machine may reach it.
function openMistakes(host: string, origins: readonly string[]): string[] {
  const mistakes: string[] = [];
  if (!isLoopback(host)) {
    mistakes.push(
      `Without API keys or JWTs everyone may do everything, so the server listens on loopback only, not on ${host}: ` +
        "make a key with `coatcheck keys create --owner NAME`, or set access.jwt.",
    );
  }
  if (origins.includes("*")) {
    mistakes.push(
      'Without API keys or JWTs "*" in cors.origins would let every web page in: name the origins.',
    );
  }
  return mistakes;
}

async function readOperations(settings: Settings, path: string): Promise<readonly ConfiguredOperation[]> {
  const { mistakes } = settings;
  const { said } = settings.said("operations");
  if (!Array.isArray(said) || said.length === 0) {
    mistakes.push(
      "operations must be a list of at least one `{ operation, handler }` or `{ operation, module }`.",
    );
    return [];
  }
  const configured: ConfiguredOperation[] = [];
  for (const [index, entry] of said.entries()) {
    try {
      configured.push(await readOperation(entry, `operations.${index}`, path));
    } catch (error) {
      mistakes.push((error as Error).message);
    }
  }
  try {
    readyOperations(configured.map(({ operation }) => operation));
  } catch (error) {
    mistakes.push((error as Error).message);
  }
  return configured;
}

async function readOperation(entry: unknown, at: string, path: string): Promise<ConfiguredOperation> {
  if (typeof entry !== "object" || entry === null) throw new RangeError(`${at} must be an object.`);
  const { operation, handler, module, isolate, concurrency, memoryMb } = entry as Partial<OperationEntry>;
  const defined = typeof operation === "string" ? await importNamed(operation, path, at) : operation;
  if (!isOperation(defined)) throw new RangeError(`${at}.operation must be what \`defineOperation\` gave.`);
  const { name } = defined;
  if (handler !== undefined && module !== undefined) {
    throw new RangeError(`The operation "${name}" must have either a handler or a module, not both.`);
  }
  if (isolate !== undefined && module === undefined) {
    throw new RangeError(
      `To isolate "${name}", give a module: a function can't be carried into another thread.`,
    );
  }
  if (memoryMb !== undefined && isolate === undefined) {
    throw new RangeError(`The memory of "${name}" can be bounded only where it is isolated.`);
  }
  const common = {
    operation: defined,
    concurrency: concurrency === undefined ? null : whole(1, 10_000)(concurrency, `${at}.concurrency`),
    memoryMb: memoryMb === undefined ? null : whole(16, 1_048_576)(memoryMb, `${at}.memoryMb`),
  };
  if (isolate !== undefined && module !== undefined) {
    const place = oneOf("thread", "process")(isolate, `${at}.isolate`);
    return { ...common, handler: null, module: findModule(module, path, `${at}.module`), isolate: place };
  }
  // Accepted here, worked elsewhere.
  if (handler === undefined && module === undefined)
    return { ...common, handler: null, module: null, isolate: null };
  const found = handler ?? (await importNamed(module as string | URL, path, `${at}.module`));
  if (typeof found !== "function") throw new RangeError(`The handler of "${name}" must be a function.`);
  return { ...common, handler: found as Handler, module: null, isolate: null };
}

function isOperation(value: unknown): value is Operation {
  return (
    typeof value === "object" && value !== null && "name" in value && "path" in value && "policy" in value
  );
}

function tiersOf(said: unknown, limits: "on" | "off", mistakes: string[]): Tiers {
  if (typeof said !== "object" || said === null) throw new RangeError("tiers must be an object, by name.");
  const good: Record<string, TierOptions> = {};
  for (const [name, options] of Object.entries(said as Record<string, TierOptions>)) {
    try {
      if (typeof options !== "object" || options === null)
        throw new RangeError(`tiers.${name} must be an object.`);
      readTier(name, options);
      good[name] = options;
    } catch (error) {
      const { message } = error as Error;
      mistakes.push(message.startsWith(`${name}.`) ? `tiers.${message}` : message);
    }
  }
  return readTiers(good, limits);
}

function storeOf(url: string, directory: string, name = "store"): string {
  const place = readStoreUrl(url, name);
  if (place.kind === "memory") return "memory:";
  return place.kind === "sqlite" ? `sqlite:${resolve(directory, place.file)}` : url;
}

function hostOf(said: unknown, name: string): string {
  const host = text(said, name).replace(/^\[(.*)\]$/, "$1");
  if (isIP(host) !== 0 || /^(?!-)[A-Za-z0-9.-]{1,253}$/.test(host)) return host;
  throw new RangeError(`${name} must be an IP address or a host name, without a scheme or port.`);
}

function publicUrlOf(said: unknown, name: string): string {
  const url = URL.canParse(text(said, name)) ? new URL(said as string) : null;
  const plain =
    url !== null && url.search === "" && url.hash === "" && url.username === "" && url.password === "";
  if (plain && (url.protocol === "https:" || url.protocol === "http:")) return url.href.replace(/\/+$/, "");
  throw new RangeError(
    `${name} must be a URL such as https://api.example/coatcheck, without credentials or query.`,
  );
}

function originOf(said: unknown, name: string): string {
  if (said === "*") return said;
  if (typeof said === "string" && URL.canParse(said) && new URL(said).origin === said) return said;
  throw new RangeError(`${name} must list origins such as https://app.example, without a path, or "*".`);
}

function graceOf(said: unknown, name: string): number {
  const ms = parseDuration(said as Duration, name);
  if (ms <= 3_600_000) return ms;
  throw new RangeError(`${name} must be at most an hour.`);
}
