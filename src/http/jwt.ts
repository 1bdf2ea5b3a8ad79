// JWTs: which are accepted, and what their claims mean.

import { createHash } from "node:crypto";
import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";
import { StoreUnavailable } from "../store/store.ts";
import { CALLER_SCOPES, isOwner, SCOPES } from "./api-keys.ts";
import type { Denied, Identity, Scope } from "./identity.ts";
import { inlineKeys, type JwksTiming, remoteKeys } from "./jwks.ts";
import type { Tiers } from "./tiers.ts";

/** Which JWTs are accepted, and which of their claims say what. */
export interface JwtOptions {
  /** Where the public keys are: a URL of a JWKS, or the JWKS itself. */
  readonly jwks: URL | { readonly keys: readonly object[] };
  /** Who must have issued it (`iss`). */
  readonly issuer: string | readonly string[];
  /** Whom it must be meant for (`aud`). */
  readonly audience: string | readonly string[];
  /** Accepted signatures. Default: every asymmetric one that JOSE has; `none` and HMAC never. */
  readonly algorithms?: readonly string[];
  /** How far the issuer's clock may be off, 0 to 600. Default 30. */
  readonly clockToleranceSeconds?: number;
  readonly claims?: JwtClaims;
  readonly timing?: JwksTiming;
}

/** The names of the claims. */
export interface JwtClaims {
  /** Whose jobs it opens. Default `sub`. */
  readonly owner?: string;
  /** Default `tier`. Without the claim, or with the name of no tier, it is the tier `default`. */
  readonly tier?: string;
  /**
   * What it may do: text separated by spaces, or a list; words that are no scopes of ours are passed over. Default
   * `scope`. A token without the claim, or all of them if this is null, may submit, read and cancel.
   */
  readonly scopes?: string | null;
}

/** Every signature algorithm with a public key. */
export const ASYMMETRIC_ALGORITHMS: readonly string[] = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/** Judges a token. Rejects with `StoreUnavailable` where the keys can't be known now. */
export type JwtJudge = (token: string) => Identity | Denied | Promise<Identity | Denied>;

/** Makes a judge of tokens; what it accepted it remembers for a while, so that it need not verify each again. */
export function createJwtJudge(options: JwtOptions, tiers: Tiers, now: () => number = Date.now): JwtJudge {
  const { jwks, claims, clockToleranceSeconds = 30 } = options;
  const keys = jwks instanceof URL ? remoteKeys(jwks, { now, ...options.timing }) : inlineKeys(jwks);
  const known = new Remembered(now);
  const verification = {
    issuer: listOf(options.issuer),
    audience: listOf(options.audience),
    algorithms: [...(options.algorithms ?? ASYMMETRIC_ALGORITHMS)],
    clockTolerance: clockToleranceSeconds,
    // A token that never expires could not be withdrawn.
    requiredClaims: ["exp"],
  };
  const judge = async (token: string, digest: string): Promise<Identity | Denied> => {
    let payload: JWTPayload;
    try {
      payload = await verify(token, keys, { ...verification, currentDate: new Date(now()) });
    } catch (error) {
      if (error instanceof StoreUnavailable) throw error;
      return { denied: sentenceOf(error) };
    }
    const identity = identityOf(payload, claims ?? {}, tiers);
    if ("denied" in identity) return identity;
    known.add(digest, identity, ((payload.exp as number) + clockToleranceSeconds) * 1000);
    return identity;
  };
  return (token) => {
    const digest = createHash("sha256").update(token).digest("base64url");
    return known.get(digest) ?? judge(token, digest);
  };
}

// Five minutes bound for how long a withdrawn signing key still works here; the number bounds the memory.
const REMEMBERED_MS = 300_000;
const MOST_REMEMBERED = 10_000;

/** Identities of accepted tokens, by the digest of the token. */
class Remembered {
  readonly #entries = new Map<string, { readonly identity: Identity; readonly until: number }>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  get(digest: string): Identity | undefined {
    const entry = this.#entries.get(digest);
    if (entry === undefined || this.#now() < entry.until) return entry?.identity;
    this.#entries.delete(digest);
    return undefined;
  }

  add(digest: string, identity: Identity, expiresAt: number): void {
    if (this.#entries.size >= MOST_REMEMBERED) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
    this.#entries.set(digest, { identity, until: Math.min(expiresAt, this.#now() + REMEMBERED_MS) });
  }
}

type Verification = NonNullable<Parameters<typeof jwtVerify>[2]>;

async function verify(token: string, keys: JWTVerifyGetKey, options: Verification): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keys, options)).payload;
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    // A token need not name its key (RFC 7515 §4.1.4), so each that fits is tried.
    for await (const key of error) {
      try {
        return (await jwtVerify(token, key, options)).payload;
      } catch (wrong) {
        if (!(wrong instanceof errors.JWSSignatureVerificationFailed)) throw wrong;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

// The reader is the caller's developer: what is wrong with it is no secret, what is in it is not repeated.
function sentenceOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return "The token has expired.";
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.reason === "missing") return `The token lacks the claim "${error.claim}".`;
    if (error.claim === "iss") return "The token's issuer is not one that this server trusts.";
    if (error.claim === "aud") return "The token is meant for another audience.";
    if (error.claim === "nbf") return "The token is not valid yet.";
    return `The token's claim "${error.claim}" is not valid.`;
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return "The token's signature algorithm is not accepted.";
  if (error instanceof errors.JWKSNoMatchingKey) {
    return "The token is signed with a key that this server does not know.";
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return "The token's signature is not valid.";
  return "The token is not a valid JWT.";
}

function identityOf(payload: JWTPayload, claims: JwtClaims, tiers: Tiers): Identity | Denied {
  const owner = payload[claims.owner ?? "sub"];
  if (typeof owner !== "string" || !isOwner(owner)) {
    return { denied: `The token's claim "${claims.owner ?? "sub"}" does not name an owner.` };
  }
  const tier = payload[claims.tier ?? "tier"];
  const scopes = claims.scopes === null ? undefined : payload[claims.scopes ?? "scope"];
  return {
    owner,
    tier: (typeof tier === "string" ? tiers.get(tier) : undefined) ?? tiers.get("default")!,
    scopes: new Set(scopes === undefined ? CALLER_SCOPES : scopesOf(scopes)),
  };
}

function scopesOf(claim: unknown): readonly Scope[] {
  const words: readonly unknown[] =
    typeof claim === "string" ? claim.split(" ") : Array.isArray(claim) ? claim : [];
  return SCOPES.filter((scope) => words.includes(scope));
}

function listOf(value: string | readonly string[]): string[] {
  return typeof value === "string" ? [value] : [...value];
}
