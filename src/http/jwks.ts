// The public keys that verify JWTs: given, or fetched from a URL and kept fresh.

import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";
import { StoreUnavailable } from "../store/store.ts";

/** How fetched keys are kept. */
export interface JwksTiming {
  /** After this they are fetched again in the background, so that withdrawn keys go. Default 10 min. */
  readonly freshMs?: number;
  /** After this without a successful fetch they are no longer trusted. Default 24 h. */
  readonly mostMs?: number;
  /** An unknown key id makes the keys be fetched again, but no more often than this. Default 30 s. */
  readonly cooldownMs?: number;
  /** How long to leave an unreachable server alone. Default 1 s. */
  readonly retryMs?: number;
  /** Default 5 s. */
  readonly timeoutMs?: number;
  readonly now?: () => number;
}

/** Keys that were written into the configuration. */
export function inlineKeys(jwks: { readonly keys: readonly object[] }): JWTVerifyGetKey {
  return createLocalJWKSet(jwks as JSONWebKeySet);
}

/**
 * Keys behind a URL. An outage of that URL is not ours while the last known keys are young enough.
 * Rejects with `StoreUnavailable` where no key can be known now.
 */
export function remoteKeys(url: URL, timing: JwksTiming = {}): JWTVerifyGetKey {
  const { freshMs, mostMs, cooldownMs, retryMs, timeoutMs, now } = { ...DEFAULTS, ...timing };
  let keys: JWTVerifyGetKey | null = null;
  let fetchedAt = Number.NEGATIVE_INFINITY;
  let failedAt = Number.NEGATIVE_INFINITY;
  let pending: Promise<JWTVerifyGetKey> | null = null;

  const refresh = (): Promise<JWTVerifyGetKey> => {
    if (pending !== null) return pending;
    if (now() - failedAt < retryMs) return Promise.reject(unavailable());
    pending = fetchKeys(url, timeoutMs)
      .then((fetched) => {
        fetchedAt = now();
        keys = fetched;
        return fetched;
      })
      .catch((error: unknown) => {
        failedAt = now();
        throw unavailable(error);
      })
      .finally(() => {
        pending = null;
      });
    return pending;
  };

  return async (header, token) => {
    const ageMs = now() - fetchedAt;
    let known = keys;
    if (known === null || ageMs > mostMs) known = await refresh();
    // Nobody waits for it; a failure leaves the keys as they are.
    else if (ageMs > freshMs) refresh().catch(() => {});
    try {
      return await known(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || now() - fetchedAt < cooldownMs) throw error;
      return (await refresh())(header, token);
    }
  };
}

const DEFAULTS = {
  freshMs: 600_000,
  mostMs: 86_400_000,
  cooldownMs: 30_000,
  retryMs: 1000,
  timeoutMs: 5000,
  now: Date.now,
} as const;

// Some hundred keys; a key set has a handful.
const MOST_BYTES = 256 * 1024;

async function fetchKeys(url: URL, timeoutMs: number): Promise<JWTVerifyGetKey> {
  const response = await fetch(url, {
    headers: { accept: "application/jwk-set+json, application/json" },
    // A redirect could lead anywhere, and the address is the operator's own.
    redirect: "error",
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`The answer was ${response.status}.`);
  }
  return createLocalJWKSet(JSON.parse(await boundedText(response)) as JSONWebKeySet);
}

async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MOST_BYTES) throw new Error(`The answer is longer than ${MOST_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function unavailable(cause?: unknown): StoreUnavailable {
  return new StoreUnavailable("The keys that verify tokens can't be fetched now.", { cause });
}
