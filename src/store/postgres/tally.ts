// How many stand where, as differences: each transaction inserts what it changed, nobody waits for a counter, and the sweep sums
// up what has gathered. A place in a line is a sum of blocks of turns and a short count, so it is exact at any length.

import { STAND } from "./codec.ts";
import { encodeName, table } from "./sql.ts";

/**
 * Turns in a block, by level. A million jobs of one owner are a thousand blocks of the first level, and a place among them a sum of about
 * a thousand numbers; the last level is as fine as keeps a short count short where a thousand owners take turns.
 */
export const BLOCKS = [1024, 32, 4] as const;

/** Beside where jobs stand: how many are processing or queued, and how many rows there are at all (of the operation ""). */
export const COUNTED = { processing: 5, jobs: 6, queued: 7 } as const;

export class Tally {
  /** By operation, then by the rest. */
  readonly #counts = new Map<string, Map<string, number>>();

  /** `by` more stand there; in a line, at this turn. */
  add(operation: string, stand: number, priority: number, turn: number, by: number): void {
    if (stand === STAND.nowhere) return;
    this.#add(operation, COUNTED.queued, 0, 0, 0, by);
    if (stand !== STAND.line) this.#add(operation, stand, 0, 0, 0, by);
    else
      for (const [level, size] of BLOCKS.entries())
        this.#add(operation, stand, priority, level, Math.floor(turn / size), by);
  }

  count(operation: string, what: number, by: number): void {
    this.#add(operation, what, 0, 0, 0, by);
  }

  /** The statement that writes it; empty where nothing changed. */
  statement(): string {
    const rows: { readonly operation: string; readonly at: readonly number[]; readonly n: number }[] = [];
    for (const [operation, counts] of this.#counts)
      for (const [at, n] of counts) if (n !== 0) rows.push({ operation, at: at.split(" ").map(Number), n });
    if (rows.length === 0) return "";
    const column = (index: number) => rows.map(({ at }) => at[index] as number);
    return `INSERT INTO tally (operation, stand, priority, level, block, n) SELECT * FROM ${table([
      ["operation", "text", rows.map(({ operation }) => encodeName(operation))],
      ["stand", "smallint", column(0)],
      ["priority", "int", column(1)],
      ["level", "smallint", column(2)],
      ["block", "bigint", column(3)],
      ["n", "bigint", rows.map(({ n }) => n)],
    ])};`;
  }

  #add(operation: string, stand: number, priority: number, level: number, block: number, by: number): void {
    let counts = this.#counts.get(operation);
    if (counts === undefined) {
      counts = new Map();
      this.#counts.set(operation, counts);
    }
    const at = `${stand} ${priority} ${level} ${block}`;
    counts.set(at, (counts.get(at) ?? 0) + by);
  }
}

/** Writes the differences of rows that a statement moved: `moved` has operation, priority, turn and where they stood and stand. */
export function tallyMoved(moved: string): string {
  const levels = BLOCKS.map((size, level) => `(${level}, ${size})`).join(", ");
  const part = (stand: string, n: number) => `
    SELECT operation, ${stand}, CASE WHEN ${stand} = ${STAND.line} THEN priority ELSE 0 END, level,
      CASE WHEN ${stand} = ${STAND.line} THEN floor(turn / size)::bigint ELSE 0 END, ${n}
    FROM ${moved}, (VALUES ${levels}) AS b(level, size) WHERE level = 0 OR ${stand} = ${STAND.line}`;
  return `INSERT INTO tally (operation, stand, priority, level, block, n)
    SELECT operation, stand, priority, level, block, sum(n) FROM (${part("was", -1)} UNION ALL ${part("stands", 1)})
      AS d(operation, stand, priority, level, block, n) GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0`;
}

/** How many stand before a turn in a line, as SQL; the arguments are SQL too. `row` breaks ties. */
export function placeBefore(operation: string, priority: string, turn: string, row: string): string {
  const sum = (where: string) =>
    `coalesce((SELECT sum(n) FROM tally t WHERE t.operation = ${operation} AND ${where}), 0)`;
  const begin = (size: number) => `floor(${turn} / ${size})::bigint`;
  const blocks = BLOCKS.map((size, level) => {
    const before = BLOCKS[level - 1];
    const from = before === undefined ? "" : `AND t.block >= ${begin(before)} * ${before / size}`;
    return sum(
      `t.stand = ${STAND.line} AND t.priority = ${priority} AND t.level = ${level} ${from} AND t.block < ${begin(size)}`,
    );
  });
  const finest = Math.min(...BLOCKS);
  return `(${sum(`t.stand = ${STAND.suspects} AND t.level = 0`)}
    + ${sum(`t.stand = ${STAND.line} AND t.level = 0 AND t.priority > ${priority}`)}
    + ${blocks.join(" + ")}
    + (SELECT count(*) FROM job l WHERE l.operation = ${operation} AND l.stand = ${STAND.line} AND l.priority = ${priority}
        AND l.turn >= ${begin(finest)} * ${finest} AND (l.turn, l.row) < (${turn}, ${row})))::bigint`;
}

/** How many differences are summed up at once. */
export const MOST_SUMMED = 5000;

/** Sums up what has gathered, a part of it; whoever does it at the same time takes another part. Says how many it took. */
export const SUM_UP = `WITH d AS (DELETE FROM tally WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM tally WHERE NOT is_sum LIMIT ${MOST_SUMMED} FOR UPDATE SKIP LOCKED)) AND NOT is_sum
    RETURNING operation, stand, priority, level, block, n),
  s AS (INSERT INTO tally (operation, stand, priority, level, block, n, is_sum)
    SELECT operation, stand, priority, level, block, sum(n), true FROM d GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 1, 4, 3, 5
    ON CONFLICT (stand, operation, level, priority, block) WHERE is_sum DO UPDATE SET n = tally.n + excluded.n)
  SELECT count(*)::int AS taken FROM d`;

/** Blocks that are empty again. */
export const CLEAR_UP = `DELETE FROM tally WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM tally WHERE is_sum AND n = 0 LIMIT 1000 FOR UPDATE SKIP LOCKED)) AND n = 0`;
