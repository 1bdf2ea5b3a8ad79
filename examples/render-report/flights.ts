// The flights: three million of them in a Parquet file, chosen and counted by DuckDB with bounded memory.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import {
  type DuckDBConnection,
  DuckDBInstance,
  type DuckDBType,
  type DuckDBValue,
  INTEGER,
  LIST,
  listValue,
  VARCHAR,
} from "@duckdb/node-api";
import type { InputOf } from "coatcheck";
import { type renderReport, WEEKDAYS } from "./operation.ts";

type Input = InputOf<typeof renderReport>;
type Values = Record<string, DuckDBValue>;

/** What the chosen flights come to. */
export interface Figures {
  readonly flights: number;
  readonly meanDelay: number;
  readonly medianDelay: number;
  /** The share that was less than 15 minutes late. */
  readonly onTime: number;
  readonly routes: number;
  /** Epoch seconds, of the flights' local time read as UTC. */
  readonly first: number;
  readonly last: number;
  /** The delays that 1 % of the flights lie below and above. */
  readonly lowDelay: number;
  readonly highDelay: number;
}

/** A row of the table, and of report.csv. */
export interface Group {
  readonly group: string;
  readonly flights: number;
  readonly mean_delay: number;
  readonly median_delay: number;
  readonly late_percent: number;
  readonly longest_delay: number;
  readonly mean_distance: number;
}

export interface Count {
  /** Where it begins: epoch seconds, minutes or the hour of the day. */
  readonly at: number;
  readonly flights: number;
  readonly meanDelay: number;
}

/** The flights of a report, open for questions. Every question ends early, with its reason, when the signal fires. */
export interface Flights {
  /** Reads the flights that the input chooses; all questions below are about these. */
  choose(input: Input, percent: (percent: number) => void): Promise<void>;
  figures(): Promise<Figures | undefined>;
  groups(by: Input["groupBy"], most: number): Promise<Group[]>;
  perTime(unit: "hour" | "day"): Promise<Count[]>;
  perHourOfDay(): Promise<Count[]>;
  /** Counts in steps of that many minutes, from `low` up to, not including, `high`. */
  perDelay(low: number, high: number, step: number): Promise<Count[]>;
  /** Writes a CSV file and gives its number of rows. */
  write(
    path: string,
    rows: Input["rows"],
    by: Input["groupBy"],
    percent: (percent: number) => void,
  ): Promise<number>;
  close(): void;
}

/** Opens DuckDB with its temporary files in the folder `scratch`. */
export async function openFlights(scratch: string, signal: AbortSignal): Promise<Flights> {
  const instance = await DuckDBInstance.create(":memory:", {
    // One report must not take the machine: what does not fit goes to disk, and there is a limit to that too.
    memory_limit: "256MB",
    threads: "2",
    temp_directory: join(scratch, "duckdb"),
    max_temp_directory_size: "2GB",
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
  });
  const connection = await instance.connect();
  const ask = questions(connection, signal);
  // Without a bar there is no progress to read either.
  await ask("SET enable_progress_bar = true");
  await ask("SET enable_progress_bar_print = false");
  const all = async <T>(sql: string, values: Values = {}) =>
    (await ask(sql, values)).getRowObjectsJS() as T[];
  return {
    async choose(input, percent) {
      const { where, values, types } = conditions(input);
      const sql = `CREATE TEMP TABLE chosen AS
        SELECT date, delay::INTEGER AS delay, distance::INTEGER AS distance, origin, destination
        FROM read_parquet($file) WHERE ${where.join(" AND ")}`;
      await watched(connection, percent, ask(sql, values, types));
    },
    async figures() {
      const [figures] = await all<Figures>(`
        SELECT count(*)::INTEGER AS flights, avg(delay) AS "meanDelay", median(delay) AS "medianDelay",
          avg((delay < 15)::INTEGER) AS "onTime", count(DISTINCT (origin, destination))::INTEGER AS routes,
          epoch(min(date)) AS first, epoch(max(date)) AS last,
          quantile_cont(delay, 0.01) AS "lowDelay", quantile_cont(delay, 0.99) AS "highDelay"
        FROM chosen`);
      return figures === undefined || figures.flights === 0 ? undefined : figures;
    },
    groups: (by, most) => all<Group>(`${summary(by)} LIMIT $most`, { most }),
    perTime: (unit) =>
      all<Count>(`${counts("epoch(date_trunc($unit, date))")} GROUP BY ALL ORDER BY 1`, { unit }),
    perHourOfDay: () => all<Count>(`${counts("hour(date)::INTEGER")} GROUP BY ALL ORDER BY 1`),
    perDelay: (low, high, step) =>
      all<Count>(
        `${counts("($low + floor((delay - $low) / $step) * $step)::INTEGER")}
         WHERE delay >= $low AND delay < $high GROUP BY ALL ORDER BY 1`,
        { low, high, step },
      ),
    async write(path, rows, by, percent) {
      const sql = `COPY (${rows === "summary" ? summary(by) : EVERY_FLIGHT}) TO $path (FORMAT csv, HEADER)`;
      const reader = await watched(connection, percent, ask(sql, { path }));
      return Number(reader.getRows()[0]?.[0] ?? 0);
    },
    close() {
      connection.closeSync();
      instance.closeSync();
    },
  };
}

const EVERY_FLIGHT = `
  SELECT strftime(date, '%Y-%m-%dT%H:%M') AS date, origin, destination, distance, delay
  FROM chosen ORDER BY chosen.date, origin, destination, distance, delay`;

// What a group is called, and by what the groups are sorted.
const GROUPS: Readonly<Record<Input["groupBy"], readonly [name: string, order: string]>> = {
  hour: ["strftime(date, '%H:00')", '"group"'],
  weekday: ["strftime(date, '%A')", "min(isodow(date))"],
  day: ["strftime(date, '%Y-%m-%d')", '"group"'],
  week: ["strftime(date_trunc('week', date), '%Y-%m-%d')", '"group"'],
  month: ["strftime(date, '%Y-%m')", '"group"'],
  origin: ["origin", 'flights DESC, "group"'],
  destination: ["destination", 'flights DESC, "group"'],
  route: ["origin || '-' || destination", 'flights DESC, "group"'],
};

function summary(by: Input["groupBy"]): string {
  const [name, order] = GROUPS[by];
  return `SELECT ${name} AS "group", count(*)::INTEGER AS flights, round(avg(delay), 2) AS mean_delay,
      median(delay) AS median_delay, round(100 * avg((delay >= 15)::INTEGER), 2) AS late_percent,
      max(delay) AS longest_delay, round(avg(distance), 1) AS mean_distance
    FROM chosen GROUP BY "group" ORDER BY ${order}`;
}

function counts(at: string): string {
  return `SELECT ${at} AS at, count(*)::INTEGER AS flights, avg(delay) AS "meanDelay" FROM chosen`;
}

// SQL of our own words only; everything that a caller wrote is bound.
function conditions(input: Input): { where: string[]; values: Values; types: Record<string, DuckDBType> } {
  const where = ["date >= $from::DATE", "date < $to::DATE + 1"];
  const values: Values = { file: parquetPath(), from: input.from, to: input.to };
  const types: Record<string, DuckDBType> = { file: VARCHAR, from: VARCHAR, to: VARCHAR };
  const bind = (name: string, condition: string, type: DuckDBType, value: DuckDBValue | undefined) => {
    if (value === undefined) return;
    where.push(condition);
    values[name] = value;
    types[name] = type;
  };
  const texts = (list: readonly string[] | undefined) => list && listValue([...list]);
  bind("origins", "list_contains($origins, origin)", LIST(VARCHAR), texts(input.origins));
  bind("destinations", "list_contains($destinations, destination)", LIST(VARCHAR), texts(input.destinations));
  bind("notOrigins", "NOT list_contains($notOrigins, origin)", LIST(VARCHAR), texts(input.notOrigins));
  bind(
    "notDestinations",
    "NOT list_contains($notDestinations, destination)",
    LIST(VARCHAR),
    texts(input.notDestinations),
  );
  bind("minDelay", "delay >= $minDelay", INTEGER, input.minDelay);
  bind("maxDelay", "delay <= $maxDelay", INTEGER, input.maxDelay);
  bind("minDistance", "distance >= $minDistance", INTEGER, input.minDistance);
  bind("maxDistance", "distance <= $maxDistance", INTEGER, input.maxDistance);
  bind(
    "hours",
    "list_contains($hours, hour(date)::INTEGER)",
    LIST(INTEGER),
    input.hours && listValue(input.hours),
  );
  const days = input.weekdays?.map((day) => WEEKDAYS.indexOf(day) + 1);
  bind("weekdays", "list_contains($weekdays, isodow(date)::INTEGER)", LIST(INTEGER), days && listValue(days));
  return { where, values, types };
}

function questions(connection: DuckDBConnection, signal: AbortSignal) {
  return async (sql: string, values: Values = {}, types: Record<string, DuckDBType> = {}) => {
    signal.throwIfAborted();
    let again: NodeJS.Timeout | undefined;
    const interrupt = () => {
      connection.interrupt();
      // A query that is still being prepared does not feel it: so once more, until it ends.
      again ??= setInterval(interrupt, INTERRUPT_MS);
    };
    signal.addEventListener("abort", interrupt, { once: true });
    try {
      const answer = await connection.runAndReadAll(sql, values, types);
      signal.throwIfAborted();
      return answer;
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      signal.removeEventListener("abort", interrupt);
      clearInterval(again);
    }
  };
}

const INTERRUPT_MS = 20;
const LOOK_MS = 100;

async function watched<T>(
  connection: DuckDBConnection,
  percent: (percent: number) => void,
  work: Promise<T>,
) {
  const look = setInterval(() => {
    const { percentage } = connection.progress;
    if (percentage > 0) percent(Math.min(percentage, 100));
  }, LOOK_MS);
  try {
    return await work;
  } finally {
    clearInterval(look);
  }
}

function parquetPath(): string {
  // The package exports its program only; the data lie beside it.
  const program = createRequire(import.meta.url).resolve("vega-datasets");
  return join(dirname(program), "..", "data", "flights-3m.parquet");
}
