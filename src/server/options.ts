// Every option of the configuration and every variable of the environment, as data: what is known is read off here.

import { didYouMean, editDistance } from "./spelling.ts";

interface Option {
  /** Its path; `*` stands for any name or index. */
  readonly path: string;
  /** As it is written; empty where there is none. */
  readonly fallback: string;
  readonly means: string;
}

interface Variable {
  readonly name: string;
  /** The option that it overrides. */
  readonly option: string;
}

/** `docs/reference/configuration.md` is held equal to this list by a test. */
export const OPTIONS: readonly Option[] = [
  option(
    "operations.*.operation",
    "",
    'What `defineOperation` gave, or where: `"./operations.js#renderReport"`',
  ),
  option("operations.*.handler", "", "The function that does the work, in the server's own thread"),
  option(
    "operations.*.module",
    "",
    "Instead: the module whose default export is the handler, as a path or URL",
  ),
  option(
    "operations.*.isolate",
    "",
    '`"thread"` or `"process"`: where each attempt of a `module` runs on its own',
  ),
  option("operations.*.concurrency", "", "Most attempts at once; by default what the worker thinks right"),
  option(
    "operations.*.memoryMb",
    "1024",
    "Most memory of an isolated attempt's JavaScript heap, in MiB, 16 or more",
  ),
  option(
    "store",
    "sqlite:./data/coatcheck.db",
    "Where jobs are kept: `sqlite:` and a path, a `postgres://` or `redis://` URL, or `memory:` to keep nothing",
  ),
  option(
    "files",
    "`files` beside an SQLite database, else ./data/files",
    "The folder of uploads and results: the same for all processes of a store, and no other store's",
  ),
  option("host", "127.0.0.1", "The address to listen on; others than loopback only with keys or JWTs"),
  option("port", "2020", "0 to 65535; 0 takes a free one"),
  option(
    "publicUrl",
    "",
    "The base of every URL that is given out; by default the address that it listens on",
  ),
  option("access.keys.*.name", "", "Which key this is, for people"),
  option("access.keys.*.prefix", "", "The 8 characters after `ck_`, to recognise it by"),
  option(
    "access.keys.*.hash",
    "",
    "`sha256:` and the SHA-256 of the key in hex; `coatcheck keys create` makes both",
  ),
  option("access.keys.*.owner", "", "Whose jobs it opens"),
  option("access.keys.*.tier", "default", "The owner's tier"),
  option("access.keys.*.scopes", "submit, read, cancel", "What it may do; there are also `work` and `admin`"),
  option("access.keys.*.created", "", "When it was made"),
  option("access.keys.*.expires", "", "From when on it is no longer taken, such as `2031-01-31T00:00:00Z`"),
  option(
    "access.keysFile",
    "./data/keys.json, if it exists",
    "The file that `coatcheck keys` writes; changes count at once",
  ),
  option("access.jwt.jwksUrl", "", "Where the issuer's public keys are; https, or http on loopback"),
  option("access.jwt.jwks", "", "Instead: the key set itself"),
  option("access.jwt.issuer", "", "What `iss` must be, or a list"),
  option("access.jwt.audience", "", "What `aud` must be, or a list"),
  option(
    "access.jwt.algorithms",
    "every one with a public key",
    "Accepted signatures, such as `RS256`, `ES256`, `EdDSA`",
  ),
  option("access.jwt.clockTolerance", "30s", "How far the issuer's clock may be off; at most 10 minutes"),
  option("access.jwt.claims.owner", "sub", "The claim that names the owner"),
  option("access.jwt.claims.tier", "tier", "The claim that names the tier"),
  option(
    "access.jwt.claims.scopes",
    "scope",
    "The claim with the scopes; null: every token may submit, read and cancel",
  ),
  option("tiers.*.active", "1000", "Most queued and processing jobs of an owner; null for no limit"),
  option(
    "tiers.*.running",
    "null",
    "Most jobs of an owner that run at once; null for no limit but the slots",
  ),
  option("tiers.*.rate.quota", "600", "Submissions per window; `rate: null` for no limit"),
  option("tiers.*.rate.window", "1m", "Whole seconds, at most a day"),
  option("tiers.*.priority", "0", "Added to the operation's priority, -100 to 100; higher starts first"),
  option("tiers.*.weight", "1", "Share among the waiting owners, 1 to 1000"),
  option("limits", "on", '`"off"` lifts every rate and quota, for benches and tests'),
  option(
    "work",
    "true",
    "Whether `coatcheck serve` works, too; false: it only serves, and `coatcheck work` works",
  ),
  option(
    "concurrency",
    "",
    "Most attempts at once in one process, over all operations; by default what their own bounds add up to",
  ),
  option(
    "healthPort",
    "",
    "The port on which `coatcheck work` answers `/health/live` and `/health/ready`; by default none",
  ),
  option("cors.origins", "", "Origins whose pages may call, such as `https://app.example`, or `*`"),
  option("log.level", "info", "`trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`"),
  option("log.pretty", "on a terminal", "Lines for people instead of JSON"),
  option("shutdownGrace", "25s", "How long running attempts may take to stop; at most an hour"),
];

/** `docs/reference/configuration.md` is held equal to this list by a test, too. */
export const VARIABLES: readonly Variable[] = [
  { name: "PORT", option: "port" },
  { name: "HOST", option: "host" },
  { name: "COATCHECK_STORE", option: "store" },
  { name: "COATCHECK_FILES", option: "files" },
  { name: "COATCHECK_PUBLIC_URL", option: "publicUrl" },
  { name: "COATCHECK_KEYS_FILE", option: "access.keysFile" },
  { name: "COATCHECK_JWKS_URL", option: "access.jwt.jwksUrl" },
  { name: "COATCHECK_JWT_ISSUER", option: "access.jwt.issuer" },
  { name: "COATCHECK_JWT_AUDIENCE", option: "access.jwt.audience" },
  { name: "COATCHECK_LIMITS", option: "limits" },
  { name: "COATCHECK_CONCURRENCY", option: "concurrency" },
  { name: "COATCHECK_HEALTH_PORT", option: "healthPort" },
  { name: "COATCHECK_CORS_ORIGINS", option: "cors.origins" },
  { name: "COATCHECK_LOG_LEVEL", option: "log.level" },
  { name: "COATCHECK_SHUTDOWN_GRACE", option: "shutdownGrace" },
];

/** One sentence for each name in the configuration that is no option. */
export function unknownOptions(config: unknown): string[] {
  return unknownBelow(config, "", "");
}

/**
 * One sentence for each variable that is a slip of the pen. Others that begin with `COATCHECK_` are left alone: programs
 * that use Coatcheck have variables of their own.
 */
export function misspeltVariables(environment: Readonly<Record<string, string | undefined>>): string[] {
  const names = VARIABLES.map(({ name }) => name);
  return Object.keys(environment).flatMap((name) => {
    if (!name.startsWith("COATCHECK_") || names.includes(name)) return [];
    const near = names.find((known) => known.startsWith("COATCHECK_") && editDistance(name, known) <= 2);
    return near === undefined ? [] : [`The variable ${name} is not known. Did you mean ${near}?`];
  });
}

function unknownBelow(value: unknown, pattern: string, path: string): string[] {
  const names = namesBelow(pattern);
  if (names.size === 0 || typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => {
    const here = path === "" ? name : `${path}.${name}`;
    if (names.has("*")) return unknownBelow(inner, join(pattern, "*"), here);
    if (names.has(name)) return unknownBelow(inner, join(pattern, name), here);
    return [`There is no option "${here}".${didYouMean(name, names)}`];
  });
}

function namesBelow(pattern: string): Set<string> {
  const start = pattern === "" ? "" : `${pattern}.`;
  return new Set(
    OPTIONS.filter(({ path }) => path.startsWith(start)).map(
      ({ path }) => path.slice(start.length).split(".", 1)[0]!,
    ),
  );
}

function join(pattern: string, name: string): string {
  return pattern === "" ? name : `${pattern}.${name}`;
}

function option(path: string, fallback: string, means: string): Option {
  return { path, fallback, means };
}
