// CSV text into records that know where they end. What is malformed is a `Failure` that names the line.

import { pipeline, Transform } from "node:stream";
import { Failure } from "coatcheck";
import { CsvError, type Info, parse } from "csv-parse";
import type { Position, Source } from "./source.ts";

export interface CsvRecord {
  readonly fields: readonly string[];
  /** Where the next record begins; `rows` counts this one. The header row counts as row 0. */
  readonly next: Position;
}

// A quote that is never closed would otherwise gather the rest of the file in memory.
const MAX_RECORD_BYTES = 1024 * 1024;

/** Reads the records from a position on. */
export async function* readRecords(
  source: Source,
  from: Position,
  delimiter: string,
): AsyncGenerator<CsvRecord> {
  const parser = parse({
    bom: from.byteOffset === 0,
    delimiter,
    info: true,
    max_record_size: MAX_RECORD_BYTES,
    // The length is judged by whoever knows the header: here the first record may be any.
    relax_column_count: true,
    skip_empty_lines: true,
  });
  let next = from;
  let row = from.byteOffset === 0 ? -1 : from.rows;
  pipeline(source.open(from), utf8(from), parser, () => {});
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: Info }>) {
      row += 1;
      next = { rows: row, byteOffset: from.byteOffset + info.bytes, line: from.line + info.lines };
      yield { fields: record, next };
    }
  } catch (error) {
    throw error instanceof CsvError ? malformed(error, from, next) : error;
  }
}

/** The failure of a file that is not the CSV it should be. */
export function malformedAt(line: number, what: string): Failure {
  return new Failure(`The CSV is malformed in line ${line}: ${what}.`, {
    status: 422,
    type: "malformed-csv",
    extensions: { line },
  });
}

function malformed(error: CsvError, from: Position, last: Position): Failure {
  const line = from.line - 1 + Number(error.lines ?? 1);
  switch (error.code) {
    case "CSV_INVALID_CLOSING_QUOTE":
      return malformedAt(line, "text follows the closing quote of a field");
    case "INVALID_OPENING_QUOTE":
      return malformedAt(line, "a quote stands inside a field that is not quoted");
    // These are noticed far behind the line where the record began.
    case "CSV_QUOTE_NOT_CLOSED":
      return malformedAt(last.line, "a quote in the record that begins there is never closed");
    case "CSV_MAX_RECORD_SIZE":
      return malformedAt(last.line, "the record that begins there is longer than a mebibyte");
    default:
      return malformedAt(line, "it can't be read");
  }
}

// The parser would put U+FFFD in place of bytes that are not UTF-8, and nobody would know.
function utf8(from: Position): Transform {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let line = from.line;
  const judge = (bytes: Buffer | undefined): Failure | null => {
    try {
      decoder.decode(bytes, { stream: bytes !== undefined });
      return null;
    } catch {
      return malformedAt(line, "in that line or soon after it the text is not UTF-8");
    }
  };
  return new Transform({
    transform(chunk: Buffer, _, done) {
      const failure = judge(chunk);
      if (failure !== null) return done(failure);
      for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) line += 1;
      done(null, chunk);
    },
    flush(done) {
      done(judge(undefined));
    },
  });
}
