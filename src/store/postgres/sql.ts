// Text of statements. Whole batches go as one text of several statements, which the driver's simple protocol sends in one round
// trip; so values are written into it, here and nowhere else.

import { randomBytes } from "node:crypto";

// What no value holds ends none: unguessable, and looked for all the same.
const TAG = `$c${randomBytes(12).toString("hex")}$`;

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
  const texts = values.map((value) =>
    value === null ? "NULL" : `"${String(value).replace(/["\\]/g, "\\$&")}"`,
  );
  return `${quote(`{${texts.join(",")}}`)}::text[]`;
}

/** Rows as a table of the name `v`. A column that is the same in all rows is written once. */
export function table(
  columns: readonly (readonly [name: string, type: Type, values: readonly Value[]])[],
): string {
  const lists: string[] = [];
  const names: string[] = [];
  const selected = columns.map(([name, type, values], at) => {
    // The first column says how many rows there are.
    const [one] = values;
    if (at > 0 && one !== undefined && values.every((value) => value === one))
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
