// The handler of `import-csv`: reads records, adds them in batches, stores a checkpoint after each.

import { resolve } from "node:path";
import { setImmediate as giveWay } from "node:timers/promises";
import {
  Failure,
  type Handler,
  type HandlerAttempt,
  type InputOf,
  Interruption,
  type OutputOf,
} from "coatcheck";
import { type Column, inferColumns, type Value, valuesOf } from "./columns.ts";
import type { importCsv } from "./operation.ts";
import { type CsvRecord, malformedAt, readRecords } from "./records.ts";
import { openSource, type Position, type Source, START } from "./source.ts";
import { type Begun, databaseOf, Target } from "./target.ts";

type Input = InputOf<typeof importCsv>;
type Attempt = HandlerAttempt<Position>;

// What the types of the columns are judged by.
const SAMPLE_ROWS = 1000;

const importRows: Handler<Input, OutputOf<typeof importCsv>, Position> = async (input, attempt) => {
  const source = await openSource(input, attempt.upload);
  const database = databaseOf(attempt.owner);
  const target = new Target(resolve(process.env.COATCHECK_IMPORTS ?? "./data/imports"), database, {
    table: input.table,
    replace: input.ifExists === "replace",
    // The key is the job's own; the attempt's number tells a later one from an earlier.
    importer: { job: attempt.idempotencyKey, attempt: attempt.number },
  });
  try {
    // Not the checkpoint but the database says how far the rows are: it may be a batch ahead.
    const begun = target.resume(attempt.resume !== undefined);
    if (begun === undefined && attempt.resume !== undefined) {
      attempt.log.warn("The database does not know of this import any more; it begins anew.");
    }
    const whole = begun?.done ? begun : await run(source, target, begun, input, attempt);
    return {
      database,
      table: input.table,
      rows: whole.position.rows,
      columns: [...whole.columns],
      resumedFrom: begun?.position.rows ?? 0,
    };
  } catch (error) {
    // Whatever else ends an attempt, the next one continues.
    if (error instanceof Failure || isCanceled(error)) target.discard();
    throw error;
  } finally {
    target.close();
  }
};

export default importRows;

function isCanceled(error: unknown): boolean {
  return error instanceof Interruption && error.reason === "canceled";
}

async function run(
  source: Source,
  target: Target,
  begun: Begun | undefined,
  input: Input,
  attempt: Attempt,
): Promise<Begun> {
  const reader = readRecords(source, begun?.position ?? START, input.delimiter);
  try {
    const { columns, position, sample } = begun
      ? { ...begun, sample: [] }
      : await begin(reader, target, input);
    let at = position;
    let last = position;
    let batch: Value[][] = [];
    const take = ({ fields, next }: CsvRecord) => {
      batch.push(valuesOf(columns, fields, next.line - 1));
      last = next;
    };
    const flush = async () => {
      attempt.signal.throwIfAborted();
      target.append(batch, at, last);
      at = last;
      batch = [];
      await attempt.checkpoint(at);
      attempt.progress(source.percent(at), `${at.rows.toLocaleString("en")} rows`);
      await giveWay();
    };
    for (const record of sample) {
      take(record);
      if (batch.length >= input.batchRows) await flush();
    }
    for await (const record of reader) {
      take(record);
      if (batch.length >= input.batchRows) await flush();
    }
    if (batch.length > 0) await flush();
    target.finish(at);
    return { columns, position: at, done: true };
  } finally {
    await reader.return(undefined);
  }
}

// Reads the header row and as many records as the types are judged by, and makes the table.
async function begin(
  reader: AsyncGenerator<CsvRecord>,
  target: Target,
  input: Input,
): Promise<{ columns: Column[]; position: Position; sample: CsvRecord[] }> {
  const header = await reader.next();
  if (header.done) throw malformedAt(1, "there is no header row");
  const sample: CsvRecord[] = [];
  while (sample.length < SAMPLE_ROWS) {
    const record = await reader.next();
    if (record.done) break;
    sample.push(record.value);
  }
  const { fields, next: position } = header.value;
  const keptAsText = (input.text ?? "").split(",").filter((name) => name !== "");
  const columns = inferColumns(
    fields,
    sample.map((record) => record.fields),
    keptAsText,
  );
  target.begin(columns, position);
  return { columns, position, sample };
}
