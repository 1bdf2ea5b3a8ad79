// Signatures of webhooks (Standard Webhooks 1.0): the same code for who sends them and who receives them.

/** The bytes of a `whsec_` secret. */
export type WebhookSecret = Uint8Array<ArrayBuffer>;

export const SIGNATURE_HEADERS = {
  id: "webhook-id",
  timestamp: "webhook-timestamp",
  signature: "webhook-signature",
} as const;

/** The secret that a text is: `whsec_` and 24 to 64 bytes in base64. Null where it is none. */
export function parseSecret(text: string): WebhookSecret | null {
  const bytes = text.startsWith(SECRET_PREFIX) ? fromBase64(text.slice(SECRET_PREFIX.length)) : null;
  return bytes !== null && bytes.length >= LEAST_BYTES && bytes.length <= MOST_BYTES ? bytes : null;
}

/** A secret as text. Throws a `RangeError` where it has fewer than 24 bytes or more than 64. */
export function formatSecret(bytes: Uint8Array): string {
  if (bytes.length < LEAST_BYTES || bytes.length > MOST_BYTES) {
    throw new RangeError(`A webhook's secret has ${LEAST_BYTES} to ${MOST_BYTES} bytes.`);
  }
  return SECRET_PREFIX + toBase64(bytes);
}

/**
 * The value of `webhook-signature`: one `v1` signature a secret, in their order, so that during a rotation receivers with the old
 * secret and with the new one find theirs.
 *
 * @param timestampSeconds since 1970, of this attempt; the value of `webhook-timestamp`
 * @param body exactly what is sent
 *
 * Throws a `RangeError` where there is no secret, or an id or a timestamp that could be read in two ways.
 */
export async function signWebhook(
  secrets: readonly WebhookSecret[],
  id: string,
  timestampSeconds: number,
  body: string | Uint8Array,
): Promise<string> {
  const timestamp = String(timestampSeconds);
  if (secrets.length === 0) throw new RangeError("A webhook is signed with one secret at least.");
  if (!isWebhookId(id) || !isTimestamp(timestamp)) {
    throw new RangeError("A webhook's id is printable without dots, and its timestamp whole seconds.");
  }
  const content = signedContent(id, timestamp, body);
  const signatures = secrets.map(async (secret) => {
    const key = await keyOf(secret, "sign");
    return `v1,${toBase64(new Uint8Array(await crypto.subtle.sign("HMAC", key, content)))}`;
  });
  return (await Promise.all(signatures)).join(" ");
}

/**
 * Whether one of the header's `v1` signatures is of one of the secrets. Other versions are ignored, as the specification asks.
 * The comparison is WebCrypto's own, in constant time.
 *
 * @param timestamp the header's text, as it came
 */
export async function verifySignature(
  secrets: readonly WebhookSecret[],
  id: string,
  timestamp: string,
  body: string | Uint8Array,
  header: string,
): Promise<boolean> {
  if (header.length > MOST_HEADER_CHARACTERS || !isWebhookId(id) || !isTimestamp(timestamp)) return false;
  const signatures = header.split(" ").flatMap((part) => {
    const bytes = part.startsWith("v1,") ? fromBase64(part.slice(3)) : null;
    return bytes !== null && bytes.length === SIGNATURE_BYTES ? [bytes] : [];
  });
  const content = signedContent(id, timestamp, body);
  for (const secret of secrets) {
    const key = await keyOf(secret, "verify");
    for (const signature of signatures) {
      if (await crypto.subtle.verify("HMAC", key, signature, content)) return true;
    }
  }
  return false;
}

/**
 * Whether it can be a `webhook-id`. A dot would let one signature stand for two messages: `a.1` at 2 with the body `x` is
 * signed as `a` at 1 with the body `2.x`.
 */
export function isWebhookId(text: string): boolean {
  return /^[!-\-/-~]{1,255}$/.test(text);
}

/** Whether it is whole seconds since 1970, in the one way to write them. */
export function isTimestamp(text: string): boolean {
  return /^[1-9]\d{0,11}$/.test(text);
}

const SECRET_PREFIX = "whsec_";
const LEAST_BYTES = 24;
const MOST_BYTES = 64;
const SIGNATURE_BYTES = 32;
/** Some dozens of signatures; each is compared with each secret. */
const MOST_HEADER_CHARACTERS = 2_048;

const HMAC = { name: "HMAC", hash: "SHA-256" };

function keyOf(secret: WebhookSecret, use: "sign" | "verify") {
  return crypto.subtle.importKey("raw", secret, HMAC, false, [use]);
}

function signedContent(id: string, timestamp: string, body: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new TextEncoder().encode(`${id}.${timestamp}.`);
  const tail = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const content = new Uint8Array(head.length + tail.length);
  content.set(head);
  content.set(tail, head.length);
  return content;
}

function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

/** Null where it is not base64 (RFC 4648 §4). The padding may be missing. */
function fromBase64(text: string): Uint8Array<ArrayBuffer> | null {
  // `atob` would also take whitespace.
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}
