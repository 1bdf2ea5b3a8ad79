// Signed URLs: links that open one job's result, status, events or cancel for a while, to whoever holds them.
//
// A link is the route's own URL with five query parameters, all of them and each of them once:
//
//   ck  the id of the key that signed it: letters, digits, `_` and `-`
//   co  the owner whose job it is, in base64url
//   ci  when it was signed, whole seconds since 1970
//   ce  when it ends, whole seconds since 1970
//   cs  the signature: HMAC-SHA256 in base64url
//
// The signature is over all of these and over what the route itself says: what may be done, and with which job. Parameters
// of other names are left alone, as SDKs append their own.

/** What a link opens; each is signed apart, so that a link to a result cancels nothing. */
export type Grant = "result" | "status" | "events" | "cancel";

/**
 * A key by its id. `mac` is HMAC-SHA256 (32 bytes) over the text's UTF-8 with a secret of this purpose alone; in Node
 * `(text) => createHmac("sha256", secret).update(text).digest()`.
 */
export interface LinkKey {
  /** 1 to 32 letters, digits, `_` or `-`. */
  readonly id: string;
  mac(text: string): Uint8Array;
}

/** What is signed. */
export interface Link {
  readonly grant: Grant;
  readonly owner: string;
  /** Null for the events of all of the owner's jobs. */
  readonly job: string | null;
  /** Seconds since 1970. */
  readonly issuedAt: number;
  /** Seconds since 1970; from then on the link is refused. */
  readonly expiresAt: number;
}

/** What a request's query brought. */
export type Opened =
  /** No parameter of ours: who asks is to be found out elsewhere. */
  | { readonly kind: "unsigned" }
  /** `keyId` and `issuedAt` are for revocation: a key that is taken away ends its links, and a route may refuse older ones. */
  | { readonly kind: "granted"; readonly link: Link; readonly keyId: string }
  /** Both are 403. `expired` is only said of a link that is otherwise right. */
  | { readonly kind: "refused"; readonly reason: "altered" | "expired" };

/**
 * The query that signs a link, without `?`, to be appended to the route's URL.
 *
 * Throws a `RangeError` where the key's id or the times are not as described, or the link could never be opened.
 */
export function signLink(key: LinkKey, link: Link): string {
  const { issuedAt, expiresAt } = link;
  if (!KEY_ID.test(key.id)) throw new RangeError("A link key's id is 1 to 32 letters, digits, _ or -.");
  if (!isSeconds(String(issuedAt)) || !isSeconds(String(expiresAt)) || expiresAt <= issuedAt) {
    throw new RangeError("A link is signed in whole seconds, and ends after that.");
  }
  const owner = toBase64Url(new TextEncoder().encode(link.owner));
  if (ownerOf(owner) !== link.owner) throw new RangeError("A link's owner is text that UTF-8 can carry.");
  const signature = toBase64Url(key.mac(messageOf(key.id, link)));
  return `ck=${key.id}&co=${owner}&ci=${issuedAt}&ce=${expiresAt}&cs=${signature}`;
}

/**
 * Judges the query of a request against what its route is.
 *
 * @param keys all that count: the one that signs and those that signed before it; a key that is not here ends its links
 * @param query as it stands in the request's URL, without `?`, not decoded
 * @param nowMs ms since 1970
 */
export function openLink(
  keys: readonly LinkKey[],
  query: string,
  route: { readonly grant: Grant; readonly job: string | null },
  nowMs: number,
): Opened {
  const found = parametersOf(query);
  if (found === null) return ALTERED;
  if (found.size === 0) return UNSIGNED;
  const [keyId, owner, issuedAt, expiresAt, signature] = NAMES.map((name) => found.get(name) ?? "") as Five;
  const key = keys.find(({ id }) => id === keyId);
  const name = ownerOf(owner);
  if (key === undefined || name === null || !isSeconds(issuedAt) || !isSeconds(expiresAt)) return ALTERED;
  const link = { ...route, owner: name, issuedAt: Number(issuedAt), expiresAt: Number(expiresAt) };
  // Compared as text: bytes have several notations, and only one was signed.
  if (!isEqual(toBase64Url(key.mac(messageOf(keyId, link))), signature)) return ALTERED;
  return nowMs >= link.expiresAt * 1000 ? EXPIRED : { kind: "granted", link, keyId };
}

/** A URL's text without the parameters of a link, for logs and traces; what is no link comes back as it was. */
export function hideLink(url: string): string {
  return url.replaceAll(/([?&])(c[koies])=[^&#]*/g, "$1$2=-");
}

type Five = [string, string, string, string, string];

const NAMES = ["ck", "co", "ci", "ce", "cs"] as const;
const KEY_ID = /^[\w-]{1,32}$/;

const UNSIGNED: Opened = Object.freeze({ kind: "unsigned" });
const ALTERED: Opened = Object.freeze({ kind: "refused", reason: "altered" });
const EXPIRED: Opened = Object.freeze({ kind: "refused", reason: "expired" });

/** Each part is quoted, so that no two links have the same text. The version is for a text of another form some day. */
function messageOf(keyId: string, { grant, owner, job, issuedAt, expiresAt }: Link): string {
  return JSON.stringify(["coatcheck-link-1", keyId, grant, owner, job, issuedAt, expiresAt]);
}

/** Our parameters as they stand, not decoded: a spelling that was not signed is not ours. Null where one came twice. */
function parametersOf(query: string): ReadonlyMap<string, string> | null {
  const found = new Map<string, string>();
  for (const part of query.split("&")) {
    const end = part.indexOf("=");
    const name = end < 0 ? part : part.slice(0, end);
    if (!(NAMES as readonly string[]).includes(name)) continue;
    if (found.has(name)) return null;
    found.set(name, end < 0 ? "" : part.slice(end + 1));
  }
  return found;
}

function isSeconds(text: string): boolean {
  return /^[1-9]\d{0,11}$/.test(text);
}

function ownerOf(text: string): string | null {
  if (!/^[\w-]+$/.test(text)) return null;
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) =>
      char.charCodeAt(0),
    );
    return toBase64Url(bytes) === text
      ? new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
      : null;
  } catch {
    return null;
  }
}

function toBase64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** In a time that depends on their lengths alone. */
function isEqual(one: string, other: string): boolean {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (let at = 0; at < one.length; at++) difference |= one.charCodeAt(at) ^ other.charCodeAt(at);
  return difference === 0;
}
