// The Prefer request header and its answer, Preference-Applied (RFC 7240).

/** What the caller prefers; what Coatcheck does not know is left out. */
export interface Preferences {
  /** Answer 202 at once (RFC 7240 §4.1). */
  readonly respondAsync: boolean;
  /** How long to wait for the outcome, in whole seconds; `"default"` for a bare `wait`, null without one (§4.3). */
  readonly waitSeconds: number | "default" | null;
  /** §4.4. */
  readonly handling: "strict" | "lenient" | null;
  /** §4.2. */
  readonly return: "minimal" | "representation" | null;
  /** The place in the list, from 1, of the first preference that is not known or has no valid value; 0 without one. */
  readonly unknownAt: number;
}

/**
 * Reads a Prefer header; several header lines may come joined by commas. Names are case-insensitive, unknown
 * preferences, parameters and malformed values are ignored, and the first of duplicates wins (§2).
 */
export function parsePrefer(header: string | undefined): Preferences {
  if (header === undefined || header === "") return NOTHING;
  if (header === "respond-async") return RESPOND_ASYNC;
  const found: Found = { ...NOTHING };
  let at = 0;
  for (let place = 1; at < header.length; place++) at = readPreference(header, at, found, place);
  return found;
}

/** A preference that a route can honour. */
export type Preference = "respond-async" | "wait" | "handling" | "return=minimal" | "return=representation";

/**
 * What keeps a request that asks for `handling=strict` from being handled so: it prefers what this route does not
 * understand. Null where it understands all of it, or was not asked for strictness. Nothing that was sent is repeated.
 */
export function unmetPreference(prefer: Preferences, understood: readonly Preference[]): string | null {
  if (prefer.handling !== "strict") return null;
  const takes = `It takes ${understood.join(", ")}.`;
  if (prefer.unknownAt > 0)
    return `handling=strict: preference ${prefer.unknownAt} is not known here. ${takes}`;
  const unmet = namesOf(prefer).find((name) => !understood.includes(name));
  return unmet === undefined ? null : `handling=strict: ${unmet} is not understood here. ${takes}`;
}

function namesOf({ respondAsync, waitSeconds, return: form }: Preferences): readonly Preference[] {
  return [
    ...(respondAsync ? (["respond-async"] as const) : []),
    ...(waitSeconds === null ? [] : (["wait"] as const)),
    ...(form === null ? [] : [`return=${form}` as const]),
  ];
}

/** The value of Preference-Applied for the preferences that were honoured: names only, no parameters (RFC 7240 §3). */
export function preferenceApplied(names: readonly string[]): string {
  return names.length === 1 ? (names[0] as string) : names.join(", ");
}

type Found = { -readonly [Name in keyof Preferences]: Preferences[Name] };

const NOTHING: Preferences = Object.freeze({
  respondAsync: false,
  waitSeconds: null,
  handling: null,
  return: null,
  unknownAt: 0,
});
const RESPOND_ASYNC: Preferences = Object.freeze({ ...NOTHING, respondAsync: true });

// A wait beyond this is as good as endless; the server bounds what it honours anyway.
const MOST_SECONDS = 999_999_999;

/** Reads from one comma to the next and notes what it found; answers where the next preference begins. */
function readPreference(header: string, start: number, found: Found, place: number): number {
  let end = start;
  let equals = -1;
  let semicolon = -1;
  for (; end < header.length; end++) {
    const code = header.charCodeAt(end);
    if (code === COMMA) break;
    if (code === QUOTE) end = closingQuote(header, end);
    else if (code === SEMICOLON && semicolon === -1) semicolon = end;
    else if (code === EQUALS && equals === -1 && semicolon === -1) equals = end;
  }
  const last = semicolon === -1 ? end : semicolon;
  const name = header
    .slice(start, equals === -1 ? last : equals)
    .trim()
    .toLowerCase();
  const value = equals === -1 ? "" : word(header.slice(equals + 1, last).trim());
  const isKnown = note(found, name, value);
  // An empty member of the list is no preference (RFC 9110 §5.6.1.2).
  const isNone = name === "" && equals === -1 && semicolon === -1;
  if (!isKnown && !isNone && found.unknownAt === 0) found.unknownAt = place;
  return end + 1;
}

/** The value of a token or quoted string; null when it is neither. An empty value counts as none (§2). */
function word(text: string): string | null {
  if (text.charCodeAt(0) !== QUOTE) return text.includes('"') ? null : text;
  if (text.length < 2 || closingQuote(text, 0) !== text.length - 1) return null;
  return text.slice(1, -1).replaceAll(/\\(.)/g, "$1");
}

/** Notes a preference; false where it is none that is known. The first of duplicates wins (§2). */
function note(found: Found, name: string, value: string | null): boolean {
  if (value === null) return false;
  switch (name) {
    case "respond-async":
      if (value === "") found.respondAsync = true;
      return value === "";
    case "wait": {
      const wait = seconds(value);
      found.waitSeconds ??= wait;
      return wait !== null;
    }
    case "handling": {
      const handling = oneOf(value, "strict", "lenient");
      found.handling ??= handling;
      return handling !== null;
    }
    case "return": {
      const form = oneOf(value, "minimal", "representation");
      found.return ??= form;
      return form !== null;
    }
    default:
      return false;
  }
}

function oneOf<One extends string, Other extends string>(
  value: string,
  one: One,
  other: Other,
): One | Other | null {
  const lower = value.toLowerCase();
  return lower === one ? one : lower === other ? other : null;
}

function seconds(value: string): number | "default" | null {
  if (value === "") return "default";
  for (let at = 0; at < value.length; at++) {
    const digit = value.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return null;
  }
  return Math.min(MOST_SECONDS, Number(value));
}

/** The index of the quote that closes the one at `open`, or of the last character when none does. */
function closingQuote(text: string, open: number): number {
  for (let at = open + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at;
    if (code === BACKSLASH) at++;
  }
  return text.length;
}

const QUOTE = 34;
const COMMA = 44;
const SEMICOLON = 59;
const EQUALS = 61;
const BACKSLASH = 92;
