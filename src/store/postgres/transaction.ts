// One transaction in two round trips: what has to be known, with what has to be locked; then all that is written, and COMMIT.
//
// Where the answer to COMMIT is lost, the server is asked what became of the transaction: it knows by its number. But a server that
// crashed gives a number that it forgot to the next transaction, so the events, which nobody else writes, must be there too; and what
// has none is in doubt once the server was started anew.

import type { Event } from "../../core/event.ts";
import { StoreUnavailable } from "../store.ts";
import type { Changes } from "./changes.ts";
import { AnswerLost, type Connection, first, isWorthARetry, type Result, type Run } from "./connection.ts";

/** A batch that meets others' locks again and again is given up. */
const MOST_TRIES = 10;

/** How long a server may take to say what became of a transaction, as after its restart. */
const FIND_OUT_MS = 5_000;

/** How long a batch waits for rows that another one holds. */
const LOCK_MS = 5_000;

/** How long the server waits for the second round trip: a process that was stopped between the two must not hold rows for long. */
const BETWEEN_MS = 5_000;

export interface Transaction {
  /** What `xmin` is of the rows that it wrote, once it has committed. */
  xmin(): string;
  /** Statements in one round trip. */
  readonly run: Run;
  /**
   * Writes the changes and commits; without changes it only ends. Gives what the statements gave, and the events as they are in
   * the feed: none where the answer was lost and they have to be read there.
   */
  commit(
    changes: Changes,
  ): Promise<{ readonly results: readonly Result[]; readonly events: readonly Event[] }>;
}

/** Runs `work` in a transaction; again, from the start, where it met others' locks. */
export async function transact<T>(
  connection: Connection,
  { searchPath, channel }: { readonly searchPath: string; readonly channel: string },
  work: (transaction: Transaction) => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await connection.alone((run) => once(connection, run, searchPath, channel, work));
    } catch (error) {
      if (!isWorthARetry(error) || tries === MOST_TRIES) throw error;
    }
  }
}

/** Statements that belong to no batch, in a transaction and a round trip of their own. */
export async function alone(
  connection: Connection,
  searchPath: string,
  text: string,
  isReading = false,
): Promise<readonly Result[]> {
  const begin = beginning(searchPath, isReading);
  const results = await connection.ask([...begin, text, "COMMIT"].join("; "));
  return results.slice(begin.length, -1);
}

// Whoever has the connection next must not find its settings changed: they end with the transaction. What we ask is planned in no time
// and answered soon, so compiling it would cost more than it gives.
function beginning(searchPath: string, isReading = false): readonly string[] {
  return [
    `BEGIN ISOLATION LEVEL READ COMMITTED${isReading ? " READ ONLY" : ""}`,
    `SET LOCAL search_path TO ${searchPath}`,
    "SET LOCAL jit = off",
    // All that we ask names a few rows by an index, or begins at one end of it. A planner that knows nothing of a table yet, or knows what it
    // was an hour ago, would read the whole of it to sort or to join what it takes for little; it may be millions.
    ...["sort", "bitmapscan", "hashjoin", "mergejoin"].map((way) => `SET LOCAL enable_${way} = off`),
    `SET LOCAL lock_timeout = ${LOCK_MS}`,
    `SET LOCAL idle_in_transaction_session_timeout = ${BETWEEN_MS}`,
  ];
}

async function once<T>(
  connection: Connection,
  run: Run,
  searchPath: string,
  channel: string,
  work: (transaction: Transaction) => Promise<T>,
): Promise<T> {
  let isOpen = false;
  let id: string | null = null;
  let startedAt = "";
  const begun: Run = async (text) => {
    if (isOpen) return await run(text);
    isOpen = true;
    const begin = beginning(searchPath);
    const results = await run(
      [
        ...begin,
        text,
        "SELECT txid_current_if_assigned()::text AS id, extract(epoch FROM pg_postmaster_start_time())::text AS started_at",
      ].join("; "),
    );
    const known = first<{ id: string | null; started_at: string }>(results.at(-1));
    id = known.id;
    startedAt = known.started_at;
    return results.slice(begin.length, -1);
  };
  const commit: Transaction["commit"] = async (changes) => {
    if (changes.isEmpty && changes.events.length === 0) {
      if (isOpen) await run("COMMIT");
      isOpen = false;
      return { results: [], events: [] };
    }
    const text = changes.statements(channel);
    if (!isOpen) await begun("SELECT txid_current()");
    else if (id === null) {
      const [assigned] = await run("SELECT txid_current()::text AS id");
      id = first<{ id: string }>(assigned).id;
    }
    try {
      const results = await run(`${text}; COMMIT`);
      isOpen = false;
      const seq = results
        .map(({ rows }) => rows[0] as { seq?: number } | undefined)
        .findLast((row) => row?.seq !== undefined)?.seq;
      const first = (seq ?? 0) - changes.events.length + 1;
      return { results, events: changes.events.map((event, at) => ({ ...event, seq: first + at })) };
    } catch (error) {
      if (!(error instanceof AnswerLost)) throw error;
      isOpen = false;
      const proof = changes.proof ?? `extract(epoch FROM pg_postmaster_start_time())::text = '${startedAt}'`;
      const find = () =>
        alone(connection, searchPath, `SELECT txid_status(${id}) AS status; SELECT ${proof} AS proven`, true);
      if (id === null || !(await hasCommitted(find))) throw new StoreUnavailable(error.message);
      return { results: [], events: [] };
    }
  };
  try {
    const xmin = () => String(BigInt(id ?? 0) & 0xffff_ffffn);
    return await work({ run: begun, commit, xmin });
  } catch (error) {
    if (isOpen && !(error instanceof AnswerLost)) await run("ROLLBACK").catch(() => {});
    // Nothing was committed: whatever was lost was lost before.
    throw error instanceof AnswerLost ? new StoreUnavailable(error.message) : error;
  }
}

/** Of a transaction number that it never gave a server says this. */
const NEVER_WAS = "22023";

async function hasCommitted(find: () => Promise<readonly Result[]>): Promise<boolean> {
  const deadline = Date.now() + FIND_OUT_MS;
  for (;;) {
    try {
      const [found, proof] = await find();
      const { status } = first<{ status: string | null }>(found);
      if (status === "committed") return first<{ proven: boolean }>(proof).proven;
      if (status !== "in progress") return false;
    } catch (error) {
      if ((error as { readonly code?: unknown }).code === NEVER_WAS) return false;
      if (Date.now() > deadline) throw error;
    }
    if (Date.now() > deadline)
      throw new StoreUnavailable("It can't be found out what became of a transaction.");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
