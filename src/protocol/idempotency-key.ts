// The Idempotency-Key request header (draft-ietf-httpapi-idempotency-key-header-07), as the draft and as real clients send it.

/** No key, a key of 1 to 255 printable ASCII characters, or what is wrong with it (one sentence, without the input). */
export type IdempotencyKey =
  | { readonly kind: "none" }
  | { readonly kind: "key"; readonly key: string }
  | { readonly kind: "invalid"; readonly detail: string };

/**
 * Reads the key from every raw value of the header, one per header line. The draft's quoted string (RFC 8941 §3.3.3) and the
 * bare form that most clients send are the same key: `"k"` is `k`. Parameters after a quoted string are ignored; a bare
 * key is taken whole, commas, semicolons and inner spaces included.
 */
export function parseIdempotencyKey(values: readonly string[]): IdempotencyKey {
  if (values.length === 0) return NONE;
  if (values.length > 1) return invalid("The Idempotency-Key header was sent more than once.");
  const value = trimmed(values[0] as string);
  if (value === "") return invalid("The Idempotency-Key header is empty.");
  // Escapes double a key at most; parameters beyond that are nobody's.
  if (value.length > 4 * MOST_CHARACTERS) return TOO_LONG;
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at);
    if (code < 0x20 || code > 0x7e) return UNPRINTABLE;
  }
  return value.charCodeAt(0) === QUOTE ? quoted(value) : bounded(value);
}

const MOST_CHARACTERS = 255;
const QUOTE = 34;
const BACKSLASH = 92;
const SEMICOLON = 59;

const NONE: IdempotencyKey = Object.freeze({ kind: "none" });
const TOO_LONG = invalid("The idempotency key is longer than 255 characters.");
const UNPRINTABLE = invalid("The idempotency key has characters other than printable ASCII.");
const UNCLOSED = invalid("The Idempotency-Key header opens a quoted string and does not close it.");
const BAD_ESCAPE = invalid(
  "In a quoted idempotency key a backslash may only precede a quote or a backslash.",
);
const TRAILING = invalid(
  "The Idempotency-Key header has more than one key, or text after its closing quote.",
);
const EMPTY_KEY = invalid("The idempotency key is empty.");

function invalid(detail: string): IdempotencyKey {
  return Object.freeze({ kind: "invalid", detail });
}

function bounded(key: string): IdempotencyKey {
  if (key.length === 0) return EMPTY_KEY;
  return key.length > MOST_CHARACTERS ? TOO_LONG : { kind: "key", key };
}

function quoted(value: string): IdempotencyKey {
  let key = "";
  let from = 1;
  for (let at = 1; at < value.length; at++) {
    const code = value.charCodeAt(at);
    if (code === QUOTE) {
      return endsHere(value, at + 1) ? bounded(key + value.slice(from, at)) : TRAILING;
    }
    if (code === BACKSLASH) {
      const escaped = value.charCodeAt(at + 1);
      if (escaped !== QUOTE && escaped !== BACKSLASH) return Number.isNaN(escaped) ? UNCLOSED : BAD_ESCAPE;
      key += value.slice(from, at);
      from = ++at;
    }
  }
  return UNCLOSED;
}

/** Whether nothing but parameters follows. A second member (`"a", "b"`) is a header sent twice and joined on its way. */
function endsHere(value: string, at: number): boolean {
  if (at === value.length) return true;
  return trimmed(value.slice(at)).charCodeAt(0) === SEMICOLON && !hasSecondMember(value, at);
}

function hasSecondMember(value: string, from: number): boolean {
  let inString = false;
  for (let at = from; at < value.length; at++) {
    const code = value.charCodeAt(at);
    if (inString && code === BACKSLASH) at++;
    else if (code === QUOTE) inString = !inString;
    else if (!inString && code === 44) return true;
  }
  return false;
}

/** Without the spaces and tabs around it: `trim()` would also take characters that RFC 9110's whitespace does not have. */
function trimmed(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && isBlank(value.charCodeAt(start))) start++;
  while (end > start && isBlank(value.charCodeAt(end - 1))) end--;
  return start === 0 && end === value.length ? value : value.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
