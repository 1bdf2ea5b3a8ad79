// Text of statements. Whole batches go as one text of several statements, which the driver's simple protocol sends in one round
// trip; so values are written into it, here and nowhere else.

import { randomBytes } from "node:crypto";

// What no value holds ends none: unguessable, and looked for all the same.
const TAG = `$c${randomBytes(12).toString("hex")}$`;

const BETWEEN = "\x01";

// Whether a value holds what stands between two.
function isHard(joined: string, count: number): boolean {
  let found = 0;
  for (let at = joined.indexOf(BETWEEN); at !== -1; at = joined.indexOf(BETWEEN, at + 1)) found++;
  return found !== count - 1;
}

/** A text as a literal. It must be free of NUL, which no text in PostgreSQL may have. */
export function quote(text: string): string {
  if (text.includes(TAG) || text.includes("\0")) throw new Error("A text can't be written into a statement.");
  return TAG + text + TAG;
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

type Type = "bigint" | "int" | "smallint" | "float8" | "boolean" | "text" | "uuid";
type Value = string | number | boolean | null;

/** A list of values as an array's literal. */
export function list(values: readonly Value[], type: Type): string {
  if (type !== "text")
    return `'{${values.map((value) => (value === null ? "NULL" : String(value))).join(",")}}'::${type}[]`;
  const [one] = values;
  // No JSON holds a control character as it is, so one of them can stand between: nothing has to be escaped.
  const joined = values.join(BETWEEN);
  const isPlain = !values.includes(null) && !isHard(joined, values.length);
  // Of a single empty text it would make an empty array.
  if (isPlain && one !== undefined && joined !== "") return `string_to_array(${quote(joined)}, E'\\x01')`;
  const texts = values.map((value) =>
    value === null ? "NULL" : `"${String(value).replace(/["\\]/g, "\\$&")}"`,
  );
  return `${quote(`{${texts.join(",")}}`)}::text[]`;
}

/**
 * Rows as a table of the name `v`. A column that is the same in all rows is written once, but not the first `joined` ones: a constant
 * would have the planner think that it picks a few rows of what they are joined with.
 */
export function table(
  columns: readonly (readonly [name: string, type: Type, values: readonly Value[]])[],
  joined = 1,
): string {
  const lists: string[] = [];
  const names: string[] = [];
  const selected = columns.map(([name, type, values], at) => {
    const [one] = values;
    if (at >= joined && one !== undefined && values.every((value) => value === one))
      return `${literal(one, type)} AS ${name}`;
    lists.push(list(values, type));
    names.push(name);
    return `u.${name}`;
  });
  const rows = `unnest(${lists.join(", ")})`;
  if (names.length === columns.length) return `${rows} AS v(${names.join(", ")})`;
  return `(SELECT ${selected.join(", ")} FROM ${rows} AS u(${names.join(", ")})) AS v`;
}

function literal(value: Value, type: Type): string {
  if (value === null) return `NULL::${type}`;
  return type === "text" ? `${quote(String(value))}::text` : `'${value}'::${type}`;
}

/** Names of owners and operations may hold what no text in PostgreSQL may: NUL and halves of surrogate pairs. */
export function encodeName(name: string): string {
  return JSON.stringify(name).slice(1, -1);
}

export function decodeName(text: string): string {
  return text.includes("\\") ? (JSON.parse(`"${text}"`) as string) : text;
}

/** A digest as a UUID's text, and back. */
export function decodeDigest(uuid: string): string {
  return uuid.replaceAll("-", "");
}
