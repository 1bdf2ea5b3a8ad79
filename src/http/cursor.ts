// List cursors: where a page ended, sealed, so that callers can neither read, make nor carry one elsewhere.

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";

/**
 * Seals `after` for one listing; `context` says which (the owner and the filters).
 *
 * @param key 32 bytes, the same on every server of a store
 */
export function sealCursor(key: Uint8Array, context: string, after: number): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(context));
  const place = Buffer.alloc(PLACE_BYTES);
  place.writeDoubleBE(after);
  return Buffer.concat([nonce, cipher.update(place), cipher.final(), cipher.getAuthTag()]).toString(
    "base64url",
  );
}

/** Where the page ended; null where the cursor was not sealed for this listing with this key. */
export function openCursor(key: Uint8Array, context: string, cursor: string): number | null {
  if (cursor.length !== CURSOR_CHARACTERS) return null;
  const bytes = Buffer.from(cursor, "base64url");
  // Another spelling of the same bytes is another cursor than the one that was given.
  if (bytes.length !== CURSOR_BYTES || bytes.toString("base64url") !== cursor) return null;
  const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  })
    .setAAD(Buffer.from(context))
    .setAuthTag(bytes.subarray(CURSOR_BYTES - TAG_BYTES));
  try {
    const place = decipher.update(bytes.subarray(NONCE_BYTES, NONCE_BYTES + PLACE_BYTES));
    decipher.final();
    return place.readDoubleBE();
  } catch {
    return null;
  }
}

// Encrypted, not only signed: the number counts every owner's jobs.
const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const PLACE_BYTES = 8;
const TAG_BYTES = 16;
const CURSOR_BYTES = NONCE_BYTES + PLACE_BYTES + TAG_BYTES;
const CURSOR_CHARACTERS = Math.ceil((CURSOR_BYTES * 4) / 3);
