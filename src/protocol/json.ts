// Strict JSON (RFC 8259) from the bytes of a request body: what JSON.parse lets through and a job must not contain is refused.
//
// One pass over the bytes bounds the depth before anything recursive sees them, counts the members (the colons outside of
// strings) and notes whether a number literal could be inexact. JSON.parse then builds the value. A value with fewer
// keys than the text has members lost some to duplicates, however they were spelled. Only a body that is wrong or
// suspicious is read again, to say where.

/** What a body may be. */
export interface JsonLimits {
  /** The most arrays and objects inside one another; a scalar has depth 0, `[]` depth 1. */
  readonly maxDepth: number;
}

/** The value and its text; or, for people, what is wrong with the body, without a word of it. */
export type ParsedJson =
  | {
      readonly ok: true;
      readonly value: unknown;
      readonly text: string;
      /**
       * JSON pointer (RFC 6901) of the first number that a double cannot hold: one that overflows, or an integer literal
       * that would come back as another integer. Null when there is none.
       */
      readonly inexact: string | null;
    }
  | { readonly ok: false; readonly detail: string };

/**
 * Parses a JSON body. Refused are: an empty body, a byte order mark, invalid UTF-8, a depth above the limit, all that
 * JSON.parse refuses, a name that occurs twice in one object, and a member named `__proto__` (both also when spelled with escapes).
 */
export function parseJson(bytes: Uint8Array, limits: JsonLimits): ParsedJson {
  const { depth, members, suspicious } = scan(bytes, limits.maxDepth);
  if (depth > limits.maxDepth) {
    return refused(`The body nests arrays and objects deeper than ${limits.maxDepth} levels.`);
  }
  let text: string;
  try {
    text = UTF8.decode(bytes);
  } catch {
    return refused("The body is not valid UTF-8.");
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refused(faultOf(text));
  }
  if (members > 0) {
    const keys = countKeys(value);
    if (keys < 0) return refused("The body has a member named __proto__, which is not accepted.");
    if (keys !== members) return refused("The body has an object in which the same name occurs twice.");
  }
  return { ok: true, value, text, inexact: suspicious ? inexactNumber(text) : null };
}

/** `ignoreBOM` keeps a byte order mark in the text, where JSON.parse refuses it as RFC 8259 §8.1 allows. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function refused(detail: string): ParsedJson {
  return { ok: false, detail };
}

interface Scan {
  /** The greatest depth, or the first one above the limit. */
  readonly depth: number;
  /** Colons outside of strings: as many as members if the text is JSON. */
  readonly members: number;
  /** Whether a number literal has 16 digits in a row or an exponent. */
  readonly suspicious: boolean;
}

/** Judges no grammar: of bytes that are no JSON it only has to end, within the limit. */
function scan(bytes: Uint8Array, maxDepth: number): Scan {
  const length = bytes.length;
  let depth = 0;
  let deepest = 0;
  let members = 0;
  let suspicious = false;
  for (let at = 0; at < length; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE) {
      for (at++; at < length; at++) {
        const inside = bytes[at];
        if (inside === QUOTE) break;
        if (inside === BACKSLASH) at++;
      }
    } else if (byte === COLON) {
      members++;
    } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      if (++depth > deepest) {
        deepest = depth;
        if (depth > maxDepth) break;
      }
    } else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
      depth--;
    } else if (byte <= NINE && byte >= ZERO) {
      const start = at;
      while (at + 1 < length && isDigit(bytes[at + 1] as number)) at++;
      const next = bytes[at + 1];
      if (at - start >= 15 || next === LOWER_E || next === UPPER_E) suspicious = true;
    }
  }
  return { depth: deepest, members, suspicious };
}

/** All keys of a parsed value at any depth; negative when one of them is `__proto__`. */
function countKeys(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  let count = 0;
  if (Array.isArray(value)) {
    for (let at = 0; at < value.length; at++) {
      const item = value[at];
      if (typeof item === "object" && item !== null) count += countKeys(item);
    }
    return count;
  }
  const keys = Object.keys(value);
  for (let at = 0; at < keys.length; at++) {
    const key = keys[at] as string;
    if (key === "__proto__") return Number.NEGATIVE_INFINITY;
    const item = (value as Readonly<Record<string, unknown>>)[key];
    if (typeof item === "object" && item !== null) count += countKeys(item);
  }
  return count + keys.length;
}

/** A container that the text at hand is inside of: an array with its index, or an object with its member's name. */
interface Level {
  /** -1 in an object. */
  index: number;
  /** The name as written, with its quotes. */
  name: string;
}

/** Walks valid JSON text to its first inexact number; the pointer to it, or null. */
function inexactNumber(text: string): string | null {
  const path: Level[] = [];
  let lastString = "";
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      const end = stringEnd(text, at);
      lastString = text.slice(at, end);
      at = end - 1;
    } else if (code === COLON) {
      (path[path.length - 1] as Level).name = lastString;
    } else if (code === OPEN_OBJECT || code === OPEN_ARRAY) {
      path.push({ index: code === OPEN_ARRAY ? 0 : -1, name: "" });
    } else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) {
      path.pop();
    } else if (code === COMMA) {
      const level = path[path.length - 1] as Level;
      if (level.index >= 0) level.index++;
    } else if (code === MINUS || isDigit(code)) {
      const end = numberEnd(text, at);
      if (isInexact(text.slice(at, end))) return pointer(path);
      at = end - 1;
    }
  }
  return null;
}

function isInexact(literal: string): boolean {
  if (literal.length < 4) return false;
  const number = Number(literal);
  if (!Number.isFinite(number)) return true;
  if (Number.isSafeInteger(number) || !INTEGER.test(literal)) return false;
  // Digits that JSON.stringify writes again are whole too, though a double lies between them: it writes the shortest.
  // A finite integer has at most 309 digits, so this stays cheap.
  return String(number) !== literal && BigInt(literal) !== BigInt(number);
}

const INTEGER = /^-?\d+$/;

function pointer(path: readonly Level[]): string {
  let text = "";
  for (const { index, name } of path) {
    const step = index >= 0 ? String(index) : (JSON.parse(name) as string);
    text += `/${step.replaceAll("~", "~0").replaceAll("/", "~1")}`;
  }
  return text;
}

/** Says where text that JSON.parse refused stops being JSON. V8's own message quotes the input. */
function faultOf(text: string): string {
  const at = faultOffset(text);
  if (text.charCodeAt(0) === 0xfeff)
    return "The body begins with a byte order mark, which JSON does not have.";
  if (at >= text.length) {
    return text.trim() === "" ? "The body is empty." : "The body ends before its JSON is complete.";
  }
  let line = 1;
  let lineStart = 0;
  for (let feed = text.indexOf("\n"); feed !== -1 && feed < at; feed = text.indexOf("\n", feed + 1)) {
    line++;
    lineStart = feed + 1;
  }
  return `The body is not valid JSON: line ${line}, column ${at - lineStart + 1}.`;
}

/** The offset of the first character that no JSON text can have there; the length when only the end is missing. */
function faultOffset(text: string): number {
  const closers: number[] = [];
  let at = blankEnd(text, 0);
  for (;;) {
    // A value is expected here.
    const code = text.charCodeAt(at);
    if (code === OPEN_OBJECT || code === OPEN_ARRAY) {
      const closer = code + 2;
      at = blankEnd(text, at + 1);
      if (text.charCodeAt(at) !== closer) {
        closers.push(closer);
        if (closer === CLOSE_ARRAY) continue;
        const name = nameEnd(text, at);
        if (name < 0) return -name - 1;
        at = name;
        continue;
      }
      at++;
    } else {
      const end = scalarEnd(text, at);
      if (end < 0) return -end - 1;
      at = end;
    }
    // A value has ended here: containers may close, then the next value begins.
    at = blankEnd(text, at);
    while (closers.length > 0 && text.charCodeAt(at) === closers[closers.length - 1]) {
      closers.pop();
      at = blankEnd(text, at + 1);
    }
    if (closers.length === 0 || text.charCodeAt(at) !== COMMA) return at;
    at = blankEnd(text, at + 1);
    if (closers[closers.length - 1] === CLOSE_OBJECT) {
      const name = nameEnd(text, at);
      if (name < 0) return -name - 1;
      at = name;
    }
  }
}

// The helpers of faultOffset answer where their thing ends, or -(offset of the fault) - 1.

function nameEnd(text: string, start: number): number {
  if (text.charCodeAt(start) !== QUOTE) return -start - 1;
  const end = scalarEnd(text, start);
  if (end < 0) return end;
  const colon = blankEnd(text, end);
  return text.charCodeAt(colon) === COLON ? blankEnd(text, colon + 1) : -colon - 1;
}

function scalarEnd(text: string, start: number): number {
  if (text.charCodeAt(start) === QUOTE) return strictStringEnd(text, start);
  SCALAR.lastIndex = start;
  if (SCALAR.test(text)) return SCALAR.lastIndex;
  SCALAR_BEGUN.lastIndex = start;
  return -(SCALAR_BEGUN.test(text) ? SCALAR_BEGUN.lastIndex : start) - 1;
}

const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const SCALAR_BEGUN = /-|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?/y;

/** By hand, because a regular expression over a long string needs a stack as long. */
function strictStringEnd(text: string, open: number): number {
  for (let at = open + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at + 1;
    if (code < 0x20) return -at - 1;
    if (code !== BACKSLASH) continue;
    const escaped = text[++at];
    if (escaped === undefined) break;
    if (!'"\\/bfnrtu'.includes(escaped)) return -at - 1;
    if (escaped !== "u") continue;
    for (let digits = 0; digits < 4; digits++) {
      const digit = text[++at];
      if (digit === undefined) return -text.length - 1;
      if (!HEX_DIGIT.test(digit)) return -at - 1;
    }
  }
  return -text.length - 1;
}

const HEX_DIGIT = /[0-9a-fA-F]/;

function blankEnd(text: string, start: number): number {
  let at = start;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) break;
  }
  return at;
}

function stringEnd(text: string, open: number): number {
  for (let at = open + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at + 1;
    if (code === BACKSLASH) at++;
  }
  return text.length;
}

function numberEnd(text: string, start: number): number {
  let at = start + 1;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (
      !isDigit(code) &&
      code !== MINUS &&
      code !== PLUS &&
      code !== POINT &&
      code !== LOWER_E &&
      code !== UPPER_E
    )
      break;
  }
  return at;
}

function isDigit(code: number): boolean {
  return code >= ZERO && code <= NINE;
}

const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const UPPER_E = 0x45;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const LOWER_E = 0x65;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
