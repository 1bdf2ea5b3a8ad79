// API keys: how they are made, what is kept of them, and how they are found again.

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Scope } from "./identity.ts";

/** What a server keeps of a key: everything but the key. */
export interface ApiKey {
  /** For people: which key this is. Unique. */
  readonly name: string;
  /** The 8 characters after `ck_`: enough to recognise a key by, no help in guessing the rest. */
  readonly prefix: string;
  /** `sha256:` and the lower-case hex SHA-256 of the whole key. */
  readonly hash: string;
  /** Whose jobs it opens. */
  readonly owner: string;
  readonly tier: string;
  readonly scopes: readonly Scope[];
  /** ms since 1970. */
  readonly createdAt: number | null;
  /** ms since 1970; null: never. */
  readonly expiresAt: number | null;
}

/** Every scope, in the order that people read them in. */
export const SCOPES: readonly Scope[] = ["submit", "read", "cancel", "work", "admin"];

/** What a caller needs and no more. */
export const CALLER_SCOPES: readonly Scope[] = ["submit", "read", "cancel"];

/** A new key: `ck_`, 8 characters to recognise it by, then 256 random bits. */
export function createApiKey(): { readonly key: string; readonly prefix: string; readonly hash: string } {
  const prefix = randomBytes(6).toString("base64url");
  const key = `ck_${prefix}${randomBytes(32).toString("base64url")}`;
  return { key, prefix, hash: hashOf(key) };
}

/** The form in which a key is kept. A plain digest is enough for 256 random bits: there is nothing to try out. */
export function hashOf(key: string): string {
  return `sha256:${createHash("sha256").update(key).digest("hex")}`;
}

/** Whether a credential is meant to be an API key. */
export function isApiKey(credential: string): boolean {
  return credential.startsWith("ck_");
}

/**
 * Whether text can name an owner: 1 to 256 characters, none of them a control character or half of one (a lone surrogate
 * is written to disk as another character: two owners would be one).
 */
export function isOwner(text: string): boolean {
  return text.length >= 1 && text.length <= 256 && !/[\p{Cc}\p{Cs}]/u.test(text);
}

/** The keys that a server knows now. They may be replaced while it runs. */
export class KeyRing<Value> {
  #entries = new Map<string, { readonly digest: Buffer; readonly value: Value }>();

  replace(keys: readonly ApiKey[], toValue: (key: ApiKey) => Value): void {
    this.#entries = new Map(
      keys.map((key) => [key.hash, { digest: Buffer.from(key.hash), value: toValue(key) }]),
    );
  }

  /**
   * Finds by digest, so a stranger's guess decides nothing about which bytes are compared, and then compares the
   * digests in constant time.
   */
  find(key: string): Value | undefined {
    const hash = hashOf(key);
    const entry = this.#entries.get(hash);
    return entry !== undefined && timingSafeEqual(entry.digest, Buffer.from(hash)) ? entry.value : undefined;
  }
}
