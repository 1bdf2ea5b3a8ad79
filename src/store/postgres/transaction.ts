// One transaction in two round trips: what has to be known, with what has to be locked; then all that is written, and COMMIT.
//
// Where the answer to COMMIT is lost, the server is asked what became of the transaction: it knows by its number.

import type { Event } from "../../core/event.ts";
import { StoreUnavailable } from "../store.ts";
import type { Changes } from "./changes.ts";
import { AnswerLost, type Connection, first, isWorthARetry, type Result, type Run } from "./connection.ts";

/** A batch that meets others' locks again and again is given up. */
const MOST_TRIES = 10;

/** How long a server may take to say what became of a transaction, as after its restart. */
const FIND_OUT_MS = 20_000;

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

async function once<T>(
  connection: Connection,
  run: Run,
  searchPath: string,
  channel: string,
  work: (transaction: Transaction) => Promise<T>,
): Promise<T> {
  let isOpen = false;
  let id: string | null = null;
  const begun: Run = async (text) => {
    if (isOpen) return await run(text);
    isOpen = true;
    // BEGIN and SET LOCAL give a result each; what was asked for comes behind them, and the transaction's number last.
    const results = await run(
      `BEGIN; SET LOCAL search_path TO ${searchPath}; ${text}; SELECT txid_current_if_assigned()::text AS id`,
    );
    id = (results.at(-1)?.rows[0] as { id: string | null } | undefined)?.id ?? null;
    return results.slice(2, -1);
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
      if (id === null || !(await hasCommitted(connection, id))) throw new StoreUnavailable(error.message);
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

async function hasCommitted(connection: Connection, id: string): Promise<boolean> {
  const deadline = Date.now() + FIND_OUT_MS;
  for (;;) {
    try {
      const [result] = await connection.ask(`SELECT txid_status(${id}) AS status`);
      const { status } = first<{ status: string | null }>(result);
      if (status === "committed") return true;
      if (status !== "in progress") return false;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    if (Date.now() > deadline)
      throw new StoreUnavailable("It can't be found out what became of a transaction.");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
