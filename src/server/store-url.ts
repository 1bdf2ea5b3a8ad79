// The URL of a store: which store it names, and what it says to Coatcheck rather than to the database's driver.

import { dirname, join } from "node:path";
import { didYouMean, editDistance } from "./spelling.ts";

/** A store as its URL names it; `url` is what is left for the driver. */
export type StorePlace =
  | { readonly kind: "memory" }
  | { readonly kind: "sqlite"; readonly file: string }
  | {
      readonly kind: "postgres";
      readonly url: string;
      readonly schema?: string;
      readonly durability?: "process";
      readonly pooler?: boolean;
    }
  | {
      readonly kind: "redis";
      readonly url: string;
      readonly prefix?: string;
      readonly durability?: "process";
    };

/**
 * Reads the URL of a store. Throws a `RangeError` in one sentence, in which nothing of the URL is repeated that may be
 * secret: it often holds a password.
 *
 * @param name what the URL is called where it was written
 */
export function readStoreUrl(text: string, name = "store"): StorePlace {
  if (text === "memory:" || text === "memory") return { kind: "memory" };
  const path = /^sqlite:(.*)$/s.exec(text)?.[1];
  if (path !== undefined) return { kind: "sqlite", file: fileOf(path, name) };
  const scheme = /^(postgres|redis)(?:ql|s)?:\/\//.exec(text)?.[1] as "postgres" | "redis" | undefined;
  if (scheme === undefined || /^(?:postgress|redisql):/.test(text)) throw new RangeError(unknown(text, name));
  // Of a cluster further nodes follow the first, which no URL has.
  const [, start = "", nodes = "", rest = ""] =
    /^([^/]*\/\/(?:[^/?#]*@)?[^/?#,@]*)((?:,[^/?#,@]*)*)(.*)$/s.exec(text) ?? [];
  const isCluster = scheme === "redis" && nodes !== "";
  // What the driver makes of a URL that is none would name other servers than were meant.
  if (!URL.canParse(start + rest) || (nodes !== "" && !(isCluster && NODES.test(nodes)))) {
    throw new RangeError(
      `${name} is not a URL: write ${EXAMPLES[scheme]}, and %XX for characters such as @, : or / in the password.`,
    );
  }
  const url = new URL(start + rest);
  if (url.hash !== "")
    throw new RangeError(`${name} has a # in it: write %23 where it belongs to the password.`);
  checkDatabase(url, scheme, name);
  const options = takeParameters(url, scheme, name);
  return { kind: scheme, url: start + nodes + url.pathname + url.search, ...options } as StorePlace;
}

/** Whether servers on several machines can share a store. */
export function isShared({ kind }: StorePlace): boolean {
  return kind === "postgres" || kind === "redis";
}

/** Where the files of a store lie if nobody says: beside an SQLite file, and `./data/files` where the store is no folder's neighbour. */
export function filesOf(place: StorePlace): string | null {
  if (place.kind === "memory") return null;
  return place.kind === "sqlite" ? join(dirname(place.file), "files") : join("data", "files");
}

const NODES = /^(?:,(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?)+$/;

const EXAMPLES = {
  postgres: "postgres://user:password@host:5432/database",
  redis: "redis://:password@host:6379/0",
} as const;

const KNOWN =
  "a store is `sqlite:` and a path, such as sqlite:./data/coatcheck.db, a `postgres://` or `redis://` URL, or `memory:`";

function unknown(text: string, name: string): string {
  if (/^(?:postgres|postgresql|redis|rediss):/.test(text))
    return `${name} is not a URL: two slashes follow the colon.`;
  const scheme = /^(mysql|mariadb|mongodb|mssql|file|valkey):/.exec(text)?.[1];
  if (scheme === "valkey") return `${name} can't be valkey: write redis:// for a Valkey, too.`;
  return scheme === undefined ? `${name} is not a store: ${KNOWN}.` : `${name} can't be ${scheme}: ${KNOWN}.`;
}

// `sqlite:///absolute` is what other programs write for an absolute path.
function fileOf(path: string, name: string): string {
  const file = path.replace(/^\/\//, "");
  if (file === ":memory:") throw new RangeError(`${name} can't be SQLite in memory: write memory: instead.`);
  if (file === "" || file.endsWith("/"))
    throw new RangeError(`${name} must name a file, such as sqlite:./data/coatcheck.db.`);
  if (file.includes("?")) throw new RangeError(`${name} takes no parameters: sqlite: is followed by a path.`);
  return file;
}

function checkDatabase({ pathname }: URL, scheme: "postgres" | "redis", name: string): void {
  if (scheme === "redis" && !/^\/?(?:\d{1,5})?$/.test(pathname)) {
    throw new RangeError(`${name} must end with the number of a database, as in ${EXAMPLES.redis}.`);
  }
  if (scheme === "postgres" && pathname.slice(1).includes("/")) {
    throw new RangeError(`${name} must name one database, as in ${EXAMPLES.postgres}.`);
  }
}

type Said = Readonly<Record<string, string | boolean>>;

const BY_ENGINE: Readonly<
  Record<"postgres" | "redis", Readonly<Record<string, (value: string, name: string) => Said>>>
> = {
  postgres: { schema, durability, pooler },
  redis: { prefix, durability },
};
const OURS = ["schema", "prefix", "durability", "pooler"];

// Ours are taken out; all others are the driver's business.
function takeParameters(url: URL, scheme: "postgres" | "redis", name: string): Said {
  let options: Said = {};
  const readers = BY_ENGINE[scheme];
  for (const parameter of new Set(url.searchParams.keys())) {
    const read = Object.hasOwn(readers, parameter) ? readers[parameter] : undefined;
    if (read === undefined) {
      refuseSlip(parameter, scheme, name);
      continue;
    }
    const values = url.searchParams.getAll(parameter);
    if (values.length > 1) throw new RangeError(`${name} has the parameter "${parameter}" twice.`);
    options = { ...options, ...read(values[0] as string, name) };
    url.searchParams.delete(parameter);
  }
  return options;
}

function refuseSlip(parameter: string, scheme: "postgres" | "redis", name: string): void {
  if (OURS.includes(parameter)) {
    throw new RangeError(`${name} has the parameter "${parameter}", which ${scheme} does not have.`);
  }
  if (OURS.some((ours) => editDistance(parameter.toLowerCase(), ours) <= 1)) {
    throw new RangeError(
      `${name} has an unknown parameter "${parameter}".${didYouMean(parameter, Object.keys(BY_ENGINE[scheme]))}`,
    );
  }
}

function schema(value: string, name: string): Said {
  if (/^(?!pg_)[a-z_][a-z0-9_]{0,62}$/.test(value)) return { schema: value };
  throw new RangeError(
    `The schema of ${name} must be 1 to 63 lower-case letters, digits and underscores, such as ?schema=coatcheck.`,
  );
}

// Braces would say to a cluster which keys belong together, and that is for the store to say.
function prefix(value: string, name: string): Said {
  if (/^[A-Za-z0-9_.:-]{1,64}$/.test(value)) return { prefix: value };
  throw new RangeError(
    `The prefix of ${name} must be 1 to 64 letters, digits and any of _ . : -, such as ?prefix=coatcheck.`,
  );
}

function durability(value: string, name: string): Said {
  if (value === "process") return { durability: value };
  if (value === "power") return {};
  throw new RangeError(`The durability of ${name} must be power, which is the default, or process.`);
}

function pooler(value: string, name: string): Said {
  if (value === "true" || value === "false") return { pooler: value === "true" };
  throw new RangeError(`The pooler of ${name} must be true or false.`);
}
