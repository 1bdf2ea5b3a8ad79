// The columns of the table: names from the header row, types from the first rows, values from the fields.

import { Failure } from "coatcheck";
import { malformedAt } from "./records.ts";

export interface Column {
  readonly name: string;
  readonly type: "TEXT" | "INTEGER" | "REAL";
}

export type Value = string | number | null;

// SQLite's own limit is 2,000 columns.
const MAX_COLUMNS = 1000;
// Fifteen digits are what a double keeps of any whole number; no leading zeros, which zip codes need.
const INTEGER = /^(?:0|-?[1-9]\d{0,14})$/;
const REAL = /^-?(?:0|[1-9]\d{0,14})(?:\.\d+)?(?:[eE][-+]?\d{1,2})?$/;

/** `header` as names for columns, with types that fit all of the `sample`, except in those to be kept as text. */
export function inferColumns(
  header: readonly string[],
  sample: readonly (readonly string[])[],
  keptAsText: readonly string[],
): Column[] {
  if (header.length > MAX_COLUMNS) throw malformedAt(1, `it has more than ${MAX_COLUMNS} columns`);
  const names = namesOf(header);
  const unknown = keptAsText.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new Failure(
      `There is no column to keep as text by one of the names; there are: ${names.join(", ")}.`,
      {
        status: 422,
        type: "unknown-column",
      },
    );
  }
  return names.map((name, index) => ({
    name,
    type: keptAsText.includes(name) ? "TEXT" : typeOf(sample.map((fields) => fields[index] ?? "")),
  }));
}

/** The record as values of its columns; `line` is where it ends. */
export function valuesOf(columns: readonly Column[], fields: readonly string[], line: number): Value[] {
  if (fields.length !== columns.length) {
    throw malformedAt(line, `it has ${fields.length} fields, and the header row ${columns.length}`);
  }
  return fields.map((field, index) => {
    const { name, type } = columns[index]!;
    if (type === "TEXT") return field;
    if (field === "") return null;
    if ((type === "INTEGER" ? INTEGER : REAL).test(field)) return Number(field);
    // To store it anyway would change it: 00501 would become 501.
    throw new Failure(
      `Line ${line}: the column ${name} was ${type} in the first rows and is not there. Name it in "text" to keep it as text.`,
      { status: 422, type: "type-mismatch", extensions: { line, column: name } },
    );
  });
}

function typeOf(fields: readonly string[]): Column["type"] {
  const filled = fields.filter((field) => field !== "");
  if (filled.length === 0) return "TEXT";
  if (filled.every((field) => INTEGER.test(field))) return "INTEGER";
  return filled.every((field) => REAL.test(field)) ? "REAL" : "TEXT";
}

function namesOf(header: readonly string[]): string[] {
  const taken = new Set<string>();
  return header.map((text, index) => {
    const plain = text
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N}]+/gu, "_")
      .replace(/^_+|_+$/g, "")
      .slice(0, 60);
    const name = plain === "" ? `column_${index + 1}` : plain;
    let free = name;
    for (let count = 2; taken.has(free); count++) free = `${name}_${count}`;
    taken.add(free);
    return free;
  });
}
