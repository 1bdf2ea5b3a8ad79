// `coatcheck keys`: makes, lists and revokes API keys.

import { resolve } from "node:path";
import { parseDuration } from "../core/duration.ts";
import { type ApiKey, CALLER_SCOPES, createApiKey, hashOf, isOwner, SCOPES } from "../http/api-keys.ts";
import type { Scope } from "../http/identity.ts";
import { findConfigFile, readConfigFile } from "../server/config-file.ts";
import { changeKeysFile, DEFAULT_KEYS_FILE, readKeysFile } from "../server/keys-file.ts";
import { didYouMean } from "../server/spelling.ts";
import { type Command, readWords, UsageError } from "./command.ts";

export const keys: Command = {
  help: `Makes, lists and revokes API keys. A running server sees every change within about a second; one that was
started without keys asks for them from its next start on.

Usage: coatcheck keys create --owner NAME [--name NAME] [--tier TIER] [--scopes LIST] [--expires TIME]
       coatcheck keys list
       coatcheck keys revoke NAME|PREFIX

  --owner NAME       Whose jobs the key opens.
  --name NAME        What to call the key; by default like its owner.
  --tier TIER        Default: default.
  --scopes LIST      Some of ${SCOPES.join(",")}. Default: ${CALLER_SCOPES.join(",")}.
  --expires TIME     How long it is taken, such as 90d or 12h. Default: until it is revoked.
  --keys-file FILE   Default: COATCHECK_KEYS_FILE, else what the configuration says,
                     else ${DEFAULT_KEYS_FILE}.
  --config FILE      The configuration; by default coatcheck.config.ts (or .mts, .js, .mjs, .json) here,
                     if there is one.

\`create\` prints the key, once; only its SHA-256 is kept. \`revoke\` takes a key's name, or the first
characters of the key (4 at least), or all of it.`,
  async run([action, ...words]) {
    if (action === undefined)
      throw new UsageError(`Say which: keys ${Object.keys(ACTIONS).join(", keys ")}.`);
    const act = Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : undefined;
    if (act === undefined) {
      throw new UsageError(`There is no \`keys ${action}\`.${didYouMean(action, Object.keys(ACTIONS))}`);
    }
    await act(words);
    return 0;
  },
};

const ACTIONS: Readonly<Record<string, (words: readonly string[]) => Promise<void>>> = {
  create,
  list,
  revoke,
};
const WHERE = { "keys-file": { type: "string" }, config: { type: "string" } } as const;

async function create(words: readonly string[]): Promise<void> {
  const { values } = readWords(words, {
    ...WHERE,
    owner: { type: "string" },
    name: { type: "string" },
    tier: { type: "string" },
    scopes: { type: "string" },
    expires: { type: "string" },
  });
  const { owner, name, tier = "default" } = values;
  if (owner === undefined) throw new UsageError("Say whose jobs the key opens, by --owner.");
  if (!isOwner(owner)) throw new UsageError("An owner is text of 1 to 256 characters.");
  if (name !== undefined && !isOwner(name)) throw new UsageError("A name is text of 1 to 256 characters.");
  const scopes = scopesOf(values.scopes);
  const now = Date.now();
  const expiresAt = values.expires === undefined ? null : now + lifetimeOf(values.expires);
  const place = await findKeysFile(values);
  if (place.tiers !== null && !place.tiers.has(tier)) {
    throw new UsageError(`The configuration has no tier "${tier}", only ${[...place.tiers].join(", ")}.`);
  }
  const { key, prefix, hash } = createApiKey();
  let chosen = "";
  await changeKeysFile(place.path, (before) => {
    const names = new Set(before.map((other) => other.name));
    if (name !== undefined && names.has(name))
      throw new UsageError(`There is a key named "${name}" already.`);
    chosen = name ?? freeName(owner, names);
    return [...before, { name: chosen, prefix, hash, owner, tier, scopes, createdAt: now, expiresAt }];
  });
  // The key alone goes to standard output, so that a script can take it from there.
  process.stdout.write(`${key}\n`);
  const until = expiresAt === null ? "until it is revoked" : `until ${new Date(expiresAt).toISOString()}`;
  process.stderr.write(
    `This is the only time that the key "${chosen}" is shown. It opens the jobs of "${owner}" (tier ${tier}; ` +
      `${scopes.join(", ") || "no scopes"}) ${until}.\nIts hash is in ${place.path}.\n`,
  );
}

async function list(words: readonly string[]): Promise<void> {
  const { values } = readWords(words, WHERE);
  const { path } = await findKeysFile(values);
  const found = (await readKeysFile(path)) ?? [];
  if (found.length === 0) {
    process.stdout.write(`There are no keys in ${path}.\n`);
    return;
  }
  const rows = found.map(({ name, prefix, owner, tier, scopes, createdAt, expiresAt }) => [
    name,
    prefix === "" ? "" : `ck_${prefix}…`,
    owner,
    tier,
    scopes.join(","),
    createdAt === null ? "" : day(createdAt),
    expiresAt === null ? "never" : expiresAt <= Date.now() ? `${day(expiresAt)} (expired)` : day(expiresAt),
  ]);
  process.stdout.write(table([["NAME", "KEY", "OWNER", "TIER", "SCOPES", "CREATED", "EXPIRES"], ...rows]));
}

async function revoke(words: readonly string[]): Promise<void> {
  const { values, positionals } = readWords(words, WHERE, 1);
  const [which] = positionals;
  if (which === undefined) throw new UsageError("Say which key, by its name or its first characters.");
  const { path } = await findKeysFile(values);
  if ((await readKeysFile(path)) === null) throw new UsageError(`There is no keys file ${path}.`);
  let revoked: ApiKey | undefined;
  await changeKeysFile(path, (before) => {
    const key = oneOf(before, which);
    revoked = key;
    return before.filter((other) => other !== key);
  });
  process.stdout.write(`The key "${revoked?.name}" of "${revoked?.owner}" is revoked.\n`);
}

function oneOf(found: readonly ApiKey[], which: string): ApiKey {
  const start = which.replace(/^ck_/, "");
  const named = found.filter(({ name }) => name === which);
  const whole = found.filter(({ hash }) => hash === hashOf(which));
  const begun =
    start.length < 4 ? [] : found.filter(({ prefix }) => prefix !== "" && prefix.startsWith(start));
  const [key, ...others] = named.length > 0 ? named : whole.length > 0 ? whole : begun;
  if (key === undefined)
    throw new UsageError("There is no such key: `coatcheck keys list` shows all of them.");
  if (others.length > 0) throw new UsageError("Several keys begin so: give more characters, or the name.");
  return key;
}

interface Where {
  readonly path: string;
  /** The tiers of the configuration; null where there is none. */
  readonly tiers: ReadonlySet<string> | null;
}

async function findKeysFile(values: {
  readonly "keys-file"?: string;
  readonly config?: string;
}): Promise<Where> {
  const config = await readKeysOptions(values.config);
  const named = values["keys-file"] ?? (process.env.COATCHECK_KEYS_FILE || undefined) ?? config?.keysFile;
  return { path: resolve(named ?? DEFAULT_KEYS_FILE), tiers: config?.tiers ?? null };
}

/** What the configuration says of keys. The rest of it need not be right yet: keys may come first. */
async function readKeysOptions(
  named: string | undefined,
): Promise<{ readonly keysFile?: string; readonly tiers: ReadonlySet<string> } | null> {
  let file: unknown;
  try {
    const path = await findConfigFile(named, process.cwd());
    if (path === null) return null;
    file = await readConfigFile(path);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const { access, tiers } = (file ?? {}) as {
    readonly access?: { keysFile?: unknown };
    readonly tiers?: object;
  };
  const keysFile = access?.keysFile;
  return {
    ...(typeof keysFile === "string" ? { keysFile } : {}),
    tiers: new Set(["default", ...Object.keys(tiers ?? {})]),
  };
}

function scopesOf(words: string | undefined): readonly Scope[] {
  if (words === undefined) return CALLER_SCOPES;
  const wanted = words.split(",").map((word) => word.trim());
  const unknown = wanted.find((word) => !(SCOPES as readonly string[]).includes(word));
  if (unknown === undefined) return SCOPES.filter((scope) => wanted.includes(scope));
  throw new UsageError(
    `There is no scope "${unknown}".${didYouMean(unknown, SCOPES) || ` There are ${SCOPES.join(", ")}.`}`,
  );
}

function lifetimeOf(words: string): number {
  let ms = 0;
  try {
    ms = parseDuration(words, "--expires");
  } catch {
    // Said below.
  }
  // A thousand years is a slip of the pen.
  if (ms > 0 && ms <= 365_000 * 86_400_000) return ms;
  throw new UsageError('--expires takes a duration such as "90d" or "12h".');
}

function freeName(owner: string, taken: ReadonlySet<string>): string {
  let name = owner;
  for (let count = 2; taken.has(name); count++) name = `${owner}-${count}`;
  return name;
}

function day(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ");
  return rows.map((row) => `${line(row).trimEnd()}\n`).join("");
}
