// Where the rows of an import come from: a file, or orders that are made up on the fly. Both can start in the middle.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { Failure, type InputOf, type Upload } from "coatcheck";
import type { importCsv } from "./operation.ts";

/** How far an import is. */
export interface Position {
  readonly rows: number;
  /** Where the next record begins. */
  readonly byteOffset: number;
  /** The line, from 1, in which the next record begins. */
  readonly line: number;
}

export const START: Position = { rows: 0, byteOffset: 0, line: 1 };

export interface Source {
  /** CSV text from that position on; from `START` it begins with the header row. */
  open(from: Position): Readable;
  /** 0 to 100. */
  percent(at: Position): number;
}

export async function openSource(
  input: InputOf<typeof importCsv>,
  upload: Upload | undefined,
): Promise<Source> {
  const { dataset, generate } = input;
  const given = [dataset, generate, upload].filter((source) => source !== undefined);
  if (given.length !== 1) {
    throw new Failure("An import takes one source: an uploaded CSV, a dataset, or generated rows.", {
      status: 422,
      type: "one-source",
    });
  }
  if (generate !== undefined) return orders(generate.rows);
  return await file(dataset !== undefined ? datasetPath(dataset) : await upload!.path());
}

async function file(path: string): Promise<Source> {
  const { size } = await stat(path);
  return {
    open: ({ byteOffset }) => createReadStream(path, { start: byteOffset, highWaterMark: 256 * 1024 }),
    percent: ({ byteOffset }) => (size === 0 ? 100 : (byteOffset / size) * 100),
  };
}

function datasetPath(dataset: string): string {
  // The package exports its program only; the data lie beside it.
  const program = createRequire(import.meta.url).resolve("vega-datasets");
  return join(dirname(program), "..", "data", `${dataset}.csv`);
}

const CHUNK_ROWS = 1000;
const PLACES = [
  ["Zürich", "08001"],
  ["Saint-Étienne", "42000"],
  ["Agawam", "01001"],
  ["Holtsville", "00501"],
  ["San Juan", "00907"],
  ["京都市", "6008216"],
] as const;
const NOTES = ["", "gift", 'says "hello"', "leave at door, please", "two\nlines"] as const;

function orders(total: number): Source {
  function* text(from: Position): Generator<Buffer> {
    if (from.byteOffset === 0) yield Buffer.from("id,day,customer,city,zip_code,quantity,price,note\n");
    for (let first = from.rows; first < total; first += CHUNK_ROWS) {
      let chunk = "";
      for (let row = first; row < Math.min(first + CHUNK_ROWS, total); row++) chunk += order(row);
      yield Buffer.from(chunk);
    }
  }
  return {
    open: (from) => Readable.from(text(from), { objectMode: false }),
    percent: ({ rows }) => (rows / total) * 100,
  };
}

// The same row for the same number, always: an import that is resumed must find the rows that it left.
function order(row: number): string {
  const dice = Math.imul(row + 1, 0x9e3779b1) >>> 0;
  const [city, zipCode] = PLACES[dice % PLACES.length]!;
  const note = NOTES[(dice >>> 8) % NOTES.length]!;
  const day = new Date(Date.UTC(2001, 0, 1 + (dice % 365))).toISOString().slice(0, 10);
  const customer = `"Customer ${(dice >>> 4) % 99_991}, Ltd."`;
  const price = ((dice % 100_000) / 100).toFixed(2);
  return `${row + 1},${day},${customer},${city},${zipCode},${1 + (dice % 9)},${price},${quoted(note)}\n`;
}

function quoted(text: string): string {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
