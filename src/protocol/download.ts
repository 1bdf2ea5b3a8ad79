// Which bytes of a file a request gets: ranges and conditions (RFC 9110 §13 and §14), as a pure function.

/** What a request says about the bytes it wants; header values as they came. */
export interface Asked {
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  readonly ifNoneMatch: string | undefined;
}

export type Portion =
  | { readonly kind: "whole" }
  | { readonly kind: "not-modified" }
  /** `from` to `to`, both inclusive. */
  | { readonly kind: "part"; readonly from: number; readonly to: number }
  | { readonly kind: "unsatisfiable" };

/** Judges what to send of `bytes` bytes that carry the strong entity tag `tag`. */
export function choosePortion(asked: Asked, bytes: number, tag: string): Portion {
  if (matchesTag(asked.ifNoneMatch, tag)) return NOT_MODIFIED;
  if (asked.range === undefined) return WHOLE;
  // If-Range compares strongly (RFC 9110 §13.1.5). There is no Last-Modified, so a date never matches.
  if (asked.ifRange !== undefined && asked.ifRange.trim() !== tag) return WHOLE;
  return readRange(asked.range, bytes);
}

/** Whether If-None-Match names the tag, by weak comparison (RFC 9110 §13.1.2). */
export function matchesTag(ifNoneMatch: string | undefined, tag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  if (ifNoneMatch === tag || ifNoneMatch.trim() === "*") return true;
  const opaque = tag.startsWith("W/") ? tag.slice(2) : tag;
  return ifNoneMatch.match(/"[^"]*"/g)?.includes(opaque) ?? false;
}

const WHOLE: Portion = { kind: "whole" };
const NOT_MODIFIED: Portion = { kind: "not-modified" };
const UNSATISFIABLE: Portion = { kind: "unsatisfiable" };

function readRange(header: string, bytes: number): Portion {
  const set = /^\s*bytes\s*=(.*)$/i.exec(header)?.[1];
  // Another unit must be ignored (RFC 9110 §14.2), and several ranges may be: the whole file answers them too.
  if (set === undefined || set.includes(",")) return WHOLE;
  const [, first = "", last = ""] = /^\s*(\d{0,15})-(\d{0,15})\s*$/.exec(set) ?? [];
  if (first === "" && last === "") return UNSATISFIABLE;
  if (first === "") {
    const suffix = Math.min(Number(last), bytes);
    return suffix === 0 ? UNSATISFIABLE : { kind: "part", from: bytes - suffix, to: bytes - 1 };
  }
  const from = Number(first);
  const to = last === "" ? bytes - 1 : Math.min(Number(last), bytes - 1);
  return from > to ? UNSATISFIABLE : { kind: "part", from, to };
}
