// The keys file: API keys as they lie on disk, and how they get there and away again.

import { randomBytes } from "node:crypto";
import { unwatchFile, watchFile } from "node:fs";
import { mkdir, open, readFile, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type ApiKey, CALLER_SCOPES, isOwner, SCOPES } from "../http/api-keys.ts";
import type { Scope } from "../http/identity.ts";
import { didYouMean } from "./spelling.ts";

/** Where keys lie if nothing else is said; used if the file exists. */
export const DEFAULT_KEYS_FILE = "./data/keys.json";

/** A key as it is written down. */
export interface WrittenKey {
  readonly name: string;
  readonly prefix?: string;
  /** `sha256:` and 64 hex digits. */
  readonly hash: string;
  readonly owner: string;
  /** Default `default`. */
  readonly tier?: string;
  /** Default: submit, read and cancel. */
  readonly scopes?: readonly Scope[];
  /** RFC 3339. */
  readonly created?: string | null;
  /** RFC 3339; null or left out: never. */
  readonly expires?: string | null;
}

/** What is wrong with a list of keys; each mistake is one sentence. */
export class KeysUnreadable extends Error {
  override readonly name = "KeysUnreadable";
  readonly mistakes: readonly string[];
  constructor(mistakes: readonly string[]) {
    super(mistakes.join(" "));
    this.mistakes = mistakes;
  }
}

/** The keys of a list, every one checked. Throws `KeysUnreadable`. */
export function readKeys(written: unknown, where: string): readonly ApiKey[] {
  if (!Array.isArray(written)) throw new KeysUnreadable([`${where} must be a list of keys.`]);
  const mistakes: string[] = [];
  const keys = written.map((entry: unknown, index) => readKey(entry, `${where}[${index}]`, mistakes));
  const names = keys.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (mistakes.length === 0 && twice !== undefined)
    mistakes.push(`Two keys of ${where} are named "${twice}".`);
  if (mistakes.length > 0) throw new KeysUnreadable(mistakes);
  return keys;
}

/** The keys of a file; null where there is no such file. Throws `KeysUnreadable`. */
export async function readKeysFile(path: string): Promise<readonly ApiKey[] | null> {
  let content: string;
  try {
    content = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new KeysUnreadable([`The keys file ${path} can't be read: ${(error as Error).message}.`]);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(content);
  } catch {
    throw new KeysUnreadable([`The keys file ${path} is not JSON.`]);
  }
  if (typeof parsed !== "object" || parsed === null || !("keys" in parsed)) {
    throw new KeysUnreadable([`The keys file ${path} must be like { "keys": [] }.`]);
  }
  return readKeys(parsed.keys, `${path}: keys`);
}

/**
 * Changes a keys file as a whole or not at all, one process at a time; the file is its user's alone. Throws
 * `KeysUnreadable`; whatever `change` throws is passed on, and the file stays as it was.
 */
export async function changeKeysFile(
  path: string,
  change: (keys: readonly ApiKey[]) => readonly ApiKey[],
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const unlock = await lock(`${path}.lock`);
  try {
    const keys = change((await readKeysFile(path)) ?? []);
    await replaceFile(path, `${JSON.stringify({ keys: keys.map(writeKey) }, null, 2)}\n`);
  } finally {
    await unlock();
  }
}

/** Tells whenever the file has changed, within about a second; returns a function that ends it. */
export function watchKeysFile(
  path: string,
  onKeys: (keys: readonly ApiKey[]) => void,
  onMistake: (mistake: Error) => void,
): () => void {
  // Looking at the file now and then also sees it replaced, and works on every file system.
  const look = () => {
    readKeysFile(path)
      .then((keys) => onKeys(keys ?? []))
      .catch(onMistake);
  };
  watchFile(path, { interval: 1000, persistent: false }, look);
  return () => unwatchFile(path, look);
}

const KEY_MEMBERS = ["name", "prefix", "hash", "owner", "tier", "scopes", "created", "expires"];

function readKey(entry: unknown, where: string, mistakes: string[]): ApiKey {
  const found = (typeof entry === "object" && entry !== null ? entry : {}) as Record<
    keyof WrittenKey,
    unknown
  >;
  const check = (holds: boolean, mistake: string) => {
    if (!holds) mistakes.push(`${where}${mistake}`);
  };
  for (const name of Object.keys(found)) {
    check(KEY_MEMBERS.includes(name), ` has an unknown member "${name}".${didYouMean(name, KEY_MEMBERS)}`);
  }
  const { name, prefix = "", hash, owner, tier = "default", scopes = CALLER_SCOPES } = found;
  check(typeof name === "string" && isOwner(name), ".name must be text of 1 to 256 characters.");
  check(
    typeof prefix === "string" && /^[\w-]{0,16}$/.test(prefix),
    ".prefix must be the first characters of the key.",
  );
  check(
    typeof hash === "string" && /^sha256:[0-9a-f]{64}$/.test(hash),
    '.hash must be "sha256:" and 64 lower-case hex digits, as `coatcheck keys create` writes it.',
  );
  check(typeof owner === "string" && isOwner(owner), ".owner must be text of 1 to 256 characters.");
  check(typeof tier === "string", ".tier must be the name of a tier.");
  check(
    Array.isArray(scopes) && scopes.every((scope) => SCOPES.includes(scope as Scope)),
    `.scopes must be a list of these: ${SCOPES.join(", ")}.`,
  );
  const createdAt = readInstant(found.created);
  const expiresAt = readInstant(found.expires);
  check(createdAt !== undefined, ".created must be an instant such as 2031-01-31T00:00:00Z.");
  check(expiresAt !== undefined, ".expires must be an instant such as 2031-01-31T00:00:00Z.");
  return {
    name: name as string,
    prefix: prefix as string,
    hash: hash as string,
    owner: owner as string,
    tier: tier as string,
    scopes: scopes as readonly Scope[],
    createdAt: createdAt ?? null,
    expiresAt: expiresAt ?? null,
  };
}

function writeKey(key: ApiKey): WrittenKey {
  const { createdAt, expiresAt, ...rest } = key;
  return { ...rest, created: writeInstant(createdAt), expires: writeInstant(expiresAt) };
}

// A date without a zone would mean another instant on another machine.
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/;

function readInstant(written: unknown): number | null | undefined {
  if (written === undefined || written === null) return null;
  if (typeof written !== "string" || !INSTANT.test(written)) return undefined;
  const at = Date.parse(written);
  return Number.isNaN(at) ? undefined : at;
}

function writeInstant(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}

async function replaceFile(path: string, content: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
}

/** Waits up to 5 s for its turn. */
async function lock(path: string): Promise<() => Promise<void>> {
  for (let tries = 0; tries < 250; tries++) {
    try {
      await (await open(path, "wx", 0o600)).close();
      return () => unlink(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      await sleep(20);
    }
  }
  throw new KeysUnreadable([`Another program is changing the keys. If there is none, delete ${path}.`]);
}
