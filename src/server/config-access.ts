// What a configuration says of access: which API keys there are, and which JWTs are trusted.

import { BlockList, isIP } from "node:net";
import { resolve } from "node:path";
import { type Duration, parseDuration } from "../core/duration.ts";
import type { AccessKind } from "../http/access.ts";
import type { ApiKey } from "../http/api-keys.ts";
import { ASYMMETRIC_ALGORITHMS, type JwtClaims, type JwtOptions } from "../http/jwt.ts";
import type { Tiers } from "../http/tiers.ts";
import { DEFAULT_KEYS_FILE, KeysUnreadable, readKeys, readKeysFile } from "./keys-file.ts";
import { listOf, oneOf, type Settings, text } from "./settings.ts";

export interface AccessConfig {
  readonly kind: Exclude<AccessKind, "app">;
  /** The keys of the configuration itself; those of the file come on top. */
  readonly configKeys: readonly ApiKey[];
  /** All keys, as they were when the configuration was read. */
  readonly keys: readonly ApiKey[];
  /** The file to watch for further keys; null: there is none. */
  readonly keysFile: string | null;
  readonly jwt: JwtOptions | null;
}

export async function readAccess(settings: Settings, directory: string, tiers: Tiers): Promise<AccessConfig> {
  const { mistakes } = settings;
  const configKeys = settings.read("access.keys", null, (said, name) => {
    try {
      return readKeys(said, name);
    } catch (error) {
      return reported(error, mistakes);
    }
  });
  const named = settings.read("access.keysFile", null, text);
  const path = resolve(directory, named ?? DEFAULT_KEYS_FILE);
  let fileKeys: readonly ApiKey[] | null = null;
  try {
    fileKeys = await readKeysFile(path);
    if (fileKeys === null && named !== null) {
      mistakes.push(
        `There is no keys file ${path}: make the first key with \`coatcheck keys create --owner NAME\`.`,
      );
    }
  } catch (error) {
    fileKeys = reported(error, mistakes);
  }
  const keys = joinKeys(configKeys ?? [], fileKeys ?? [], tiers, mistakes);
  const jwt = readJwt(settings);
  const asksForKeys = configKeys !== null || fileKeys !== null || named !== null;
  return {
    kind: asksForKeys ? (jwt === null ? "keys" : "keys-and-jwt") : jwt === null ? "open" : "jwt",
    configKeys: configKeys ?? [],
    keys,
    keysFile: fileKeys === null ? null : path,
    jwt,
  };
}

/** Keys of the configuration and of the file, together; what is wrong with them goes to `mistakes`. */
export function joinKeys(
  configKeys: readonly ApiKey[],
  fileKeys: readonly ApiKey[],
  tiers: Tiers,
  mistakes: string[],
): readonly ApiKey[] {
  const keys = [...configKeys, ...fileKeys];
  for (const { name, tier } of keys) {
    if (!tiers.has(tier)) {
      mistakes.push(
        `The API key "${name}" is of the tier "${tier}", which there is not: ${[...tiers.keys()].join(", ")}.`,
      );
    }
  }
  return keys;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** Whether only this machine can reach an address. */
export function isLoopback(host: string): boolean {
  const version = isIP(host);
  if (version === 0) return /^(?:.+\.)?localhost\.?$/i.test(host);
  return LOOPBACK.check(host, version === 4 ? "ipv4" : "ipv6");
}

function readJwt(settings: Settings): JwtOptions | null {
  const { mistakes } = settings;
  const url = settings.read("access.jwt.jwksUrl", null, jwksUrlOf);
  const inline = settings.read("access.jwt.jwks", null, jwksOf);
  const names = ["jwksUrl", "jwks", "issuer", "audience", "algorithms", "clockTolerance", "claims"];
  if (!names.some((name) => settings.said(`access.jwt.${name}`).said !== undefined)) return null;
  const keySets = ["jwksUrl", "jwks"].filter(
    (name) => settings.said(`access.jwt.${name}`).said !== undefined,
  );
  if (keySets.length !== 1) {
    mistakes.push(
      "access.jwt must have either a jwksUrl (COATCHECK_JWKS_URL) or a jwks: the issuer's public keys.",
    );
  }
  const required = (name: "issuer" | "audience", variable: string, why: string) => {
    if (settings.said(`access.jwt.${name}`).said === undefined) {
      mistakes.push(`access.jwt.${name} (${variable}) is missing: without it a token ${why} would be taken.`);
    }
    return settings.read(`access.jwt.${name}`, [], listOf(text));
  };
  return {
    jwks: url ?? inline ?? { keys: [] },
    issuer: required("issuer", "COATCHECK_JWT_ISSUER", "of another issuer"),
    audience: required("audience", "COATCHECK_JWT_AUDIENCE", "that was meant for another service"),
    algorithms: settings.read("access.jwt.algorithms", ASYMMETRIC_ALGORITHMS, (said, name) => {
      const algorithms = listOf(oneOf(...ASYMMETRIC_ALGORITHMS))(said, name);
      if (algorithms.length > 0) return algorithms;
      throw new RangeError(`${name} must have at least one algorithm.`);
    }),
    clockToleranceSeconds: settings.read("access.jwt.clockTolerance", 30, toleranceOf),
    claims: {
      owner: settings.read("access.jwt.claims.owner", "sub", text),
      tier: settings.read("access.jwt.claims.tier", "tier", text),
      scopes: settings.read<string | null>("access.jwt.claims.scopes", "scope", (said, name) =>
        said === null ? null : text(said, name),
      ),
    } satisfies JwtClaims,
  };
}

function jwksUrlOf(said: unknown, name: string): URL {
  const url = URL.canParse(text(said, name)) ? new URL(said as string) : null;
  if (url?.protocol === "https:") return url;
  // Keys that came over plain HTTP could be anyone's.
  if (url?.protocol === "http:" && isLoopback(url.hostname.replace(/^\[(.*)\]$/, "$1"))) return url;
  throw new RangeError(`${name} must be an https URL, or an http URL on loopback.`);
}

function jwksOf(said: unknown, name: string): { readonly keys: readonly object[] } {
  const keys = (said as { readonly keys?: unknown } | null)?.keys;
  if (
    !Array.isArray(keys) ||
    keys.length === 0 ||
    !keys.every((key) => typeof key === "object" && key !== null)
  ) {
    throw new RangeError(`${name} must be a key set such as { "keys": [{ "kty": "EC", … }] }.`);
  }
  if (keys.some((key: object) => "d" in key || "k" in key)) {
    throw new RangeError(`${name} must hold public keys only; one of these is private.`);
  }
  return { keys };
}

function toleranceOf(said: unknown, name: string): number {
  const ms = parseDuration(said as Duration, name);
  if (ms <= 600_000) return Math.ceil(ms / 1000);
  throw new RangeError(`${name} must be at most 10 minutes.`);
}

function reported(error: unknown, mistakes: string[]): readonly ApiKey[] {
  if (!(error instanceof KeysUnreadable)) throw error;
  mistakes.push(...error.mistakes);
  return [];
}
