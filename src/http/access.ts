// Access: finds out who asks, by API keys, by JWTs, by both, by the app's own word, or not at all (one owner, loopback only).

import type { IncomingMessage } from "node:http";
import { type ApiKey, CALLER_SCOPES, isApiKey, isOwner, KeyRing, SCOPES } from "./api-keys.ts";
import type { Access, Denied, Identity, Scope } from "./identity.ts";
import { createJwtJudge, type JwtOptions } from "./jwt.ts";
import { readTiers, type Tiers } from "./tiers.ts";

/** How a server finds out who asks. */
export type AccessKind = "open" | "keys" | "jwt" | "keys-and-jwt" | "app";

export interface AccessOptions {
  /** Default: only the tier `default`. */
  readonly tiers?: Tiers;
  /** Given (be it an empty list), API keys are asked for. */
  readonly keys?: readonly ApiKey[];
  /** Given, JWTs are asked for. */
  readonly jwt?: JwtOptions;
  /** The app's own authentication; then keys and JWTs are none of ours. */
  readonly caller?: CallerOf;
  readonly now?: () => number;
}

/**
 * Who asks, as an app's own authentication knows it; null where it does not. `tier` is the name of a tier, by default
 * `default`; `scopes` are by default those of a caller: submit, read and cancel.
 */
export type CallerOf = (request: IncomingMessage) => AppCaller | null | Promise<AppCaller | null>;

export interface AppCaller {
  readonly owner: string;
  readonly tier?: string;
  readonly scopes?: readonly Scope[];
}

/** An `Access` that says how it works, and whose keys can be replaced while it is in use. */
export interface ReadyAccess extends Access {
  readonly kind: AccessKind;
  /** From the next request on only these keys count. */
  replaceKeys(keys: readonly ApiKey[]): void;
}

/** Makes an access. Throws a `TypeError` in one sentence where a key names a tier that there is not. */
export function createAccess(options: AccessOptions = {}): ReadyAccess {
  const { tiers = readTiers(), now = Date.now, caller } = options;
  const kind = kindOf(options);
  const ring = new KeyRing<KeyIdentity>();
  const replaceKeys = (keys: readonly ApiKey[]) => ring.replace(keys, (key) => keyIdentity(key, tiers));
  replaceKeys(options.keys ?? []);
  const byKey = (key: string): Identity | Denied => {
    const found = ring.find(key);
    if (found === undefined) return refused("The API key is not one that this server knows.");
    return found.expiresAt !== null && found.expiresAt <= now() ? refused("The API key has expired.") : found;
  };
  const judge = options.jwt === undefined ? null : createJwtJudge(options.jwt, tiers, now);
  const byCredential = (request: IncomingMessage): Identity | Denied | Promise<Identity | Denied> => {
    const credential = credentialOf(request);
    if (typeof credential !== "string") return credential;
    if (judge === null || (options.keys !== undefined && isApiKey(credential))) return byKey(credential);
    const judged = judge(credential);
    return judged instanceof Promise ? judged.then(challenged) : challenged(judged);
  };
  const everyone: Identity = { owner: "local", tier: tiers.get("default")!, scopes: new Set(SCOPES) };
  const access: Access =
    caller !== undefined
      ? async (request) => byApp(await caller(request), tiers)
      : kind === "open"
        ? () => everyone
        : byCredential;
  return Object.assign(access, { kind, replaceKeys });
}

/**
 * The value of `WWW-Authenticate` (RFC 6750 §3): for 401 what was denied; for 403 the scope that is lacking. A request
 * that brought no credentials is told no error (§3.1).
 */
export function wwwAuthenticate(reason?: Denied | { readonly lacks: Scope }): string {
  if (reason !== undefined && "lacks" in reason) {
    return `${CHALLENGE}, error="insufficient_scope", scope="${reason.lacks}"`;
  }
  return reason !== undefined && PRESENTED in reason ? `${CHALLENGE}, error="invalid_token"` : CHALLENGE;
}

const CHALLENGE = 'Bearer realm="coatcheck"';
/** Marks a refusal of credentials that were brought along. */
const PRESENTED = Symbol("presented");

const MISSING: Denied = { denied: "Send an `Authorization: Bearer …` header." };
const UNKNOWN: Denied = { denied: "The application does not know who asks." };
const TWICE = refused("The Authorization header was sent more than once.");
const IN_QUERY = refused("Credentials are not taken from the URL: send an `Authorization: Bearer …` header.");
const NOT_BEARER = refused("The Authorization header must be `Bearer` and one token.");

// RFC 6750 §2.1, b64token. Longer tokens do not fit into the headers that a server takes.
const BEARER = /^bearer +([A-Za-z0-9._~+/-]{1,8192}=*) *$/i;
// The names that clients use (RFC 6750 §2.3 and custom). URLs end in logs, so such a credential is spent.
const QUERY = /[?&](?:access_token|api[-_]?key|authorization)=/i;

function kindOf(options: AccessOptions): AccessKind {
  if (options.caller !== undefined) return "app";
  if (options.keys === undefined) return options.jwt === undefined ? "open" : "jwt";
  return options.jwt === undefined ? "keys" : "keys-and-jwt";
}

type KeyIdentity = Identity & { readonly expiresAt: number | null };

function keyIdentity(key: ApiKey, tiers: Tiers): KeyIdentity {
  const tier = tiers.get(key.tier);
  if (tier === undefined)
    throw new TypeError(`The API key "${key.name}" is of the tier "${key.tier}", which there is not.`);
  return { owner: key.owner, tier, scopes: new Set(key.scopes), expiresAt: key.expiresAt };
}

/** The one bearer token of a request. */
function credentialOf(request: IncomingMessage): string | Denied {
  if (QUERY.test(request.url ?? "")) return IN_QUERY;
  const value = request.headers.authorization;
  if (value === undefined) return MISSING;
  if (isRepeated(request.rawHeaders)) return TWICE;
  return BEARER.exec(value)?.[1] ?? NOT_BEARER;
}

// Node keeps the first of several Authorization headers and is silent about the rest.
function isRepeated(rawHeaders: readonly string[]): boolean {
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    if (name.length === 13 && name.toLowerCase() === "authorization") count += 1;
  }
  return count > 1;
}

function byApp(caller: AppCaller | null, tiers: Tiers): Identity | Denied {
  if (caller === null) return UNKNOWN;
  if (!isOwner(caller.owner)) {
    throw new TypeError("The `caller` function must give an owner of 1 to 256 characters, or null.");
  }
  const tier = tiers.get(caller.tier ?? "default");
  if (tier === undefined) throw new TypeError("The `caller` function gave a tier that there is not.");
  return { owner: caller.owner, tier, scopes: new Set(caller.scopes ?? CALLER_SCOPES) };
}

function challenged(judged: Identity | Denied): Identity | Denied {
  return "denied" in judged ? refused(judged.denied) : judged;
}

function refused(denied: string): Denied {
  const refusal = { denied, [PRESENTED]: true };
  return refusal;
}
