// The thread that writes: one connection, one transaction a batch, one fsync a commit.
//
// Each message is a batch: all its writes go through `decide` inside one IMMEDIATE transaction and are answered once
// it is durable. Between messages it renews the leases that this process holds, so that a handler that blocks the main
// thread keeps its lease, and looks for what other processes committed to the same file.

import { parentPort, workerData } from "node:worker_threads";
import type { Database } from "better-sqlite3";
import type { Event } from "../../core/event.ts";
import type { Policy } from "../../core/job.ts";
import type { Moment } from "../../core/machine.ts";
import { createClock } from "../clock.ts";
import { answer as answerQuery } from "../embedded/answer.ts";
import { apply } from "../embedded/apply.ts";
import { Book } from "../embedded/book.ts";
import { type Late, Standing } from "../embedded/standing.ts";
import { renew } from "../embedded/sweep.ts";
import type { ClaimWrite, Sight, Write, Written } from "../store.ts";
import { StoreUnavailable, StoreUnusable } from "../store.ts";
import { type DatabaseOptions, openDatabase, translate } from "./database.ts";
import { flattenEvents } from "./entries.ts";
import { Table } from "./table.ts";
import { flattenJob, flattenWritten, type Reply, type Request, unflattenWrite, type Waits } from "./wire.ts";

/** How soon another process's commit is seen, at the latest. */
const LOOK_EVERY_MS = 50;

/** Often enough for the shortest lease, 1 s, a third of which is gone before it is renewed. */
const HOLD_EVERY_MS = 250;

export interface WriterData {
  readonly file: string;
  readonly options: DatabaseOptions;
  readonly clock: SharedArrayBuffer;
  /** Set to 1 by the other thread when the log should begin anew. */
  readonly wishes: SharedArrayBuffer;
}

const port = parentPort as NonNullable<typeof parentPort>;
const { file, options, clock: shared, wishes: wished } = workerData as WriterData;
const wishes = new Int32Array(wished);
const clock = createClock(shared);

const NONE: readonly never[] = [];

try {
  serve();
} catch (error) {
  const { name, message } = translate(error, file);
  port.postMessage({ failed: name, message });
  port.close();
}

function serve(): void {
  const db = openDatabase(file, options);
  try {
    serveFrom(db);
  } catch (error) {
    // Damage that the reading of all rows found: the file is left as it was.
    db.close();
    throw error;
  }
}

function serveFrom(db: Database): void {
  const table = new Table(db);
  const policies: Policy[] = [];
  const sent = new Set<number>();
  let fresh: [number, Policy][] = [];
  const outgoing = {
    number(policy: Policy) {
      const number = table.policies.number(policy);
      if (!sent.has(number)) {
        sent.add(number);
        fresh.push([number, policy]);
      }
      return number;
    },
    policy: (number: number) => table.policies.policy(number),
  };
  const begin = db.prepare("BEGIN IMMEDIATE");
  const commit = db.prepare("COMMIT");
  const dataVersion = db.prepare("PRAGMA data_version").pluck();

  // One transaction at the start: what is read and what is told from it are of one moment.
  db.exec("BEGIN IMMEDIATE");
  const book = new Book(table, table.next());
  const { now } = clock.moment();
  for (const row of table.scan()) book.load(row, now);
  book.resume();
  let seen = table.next().seq;
  db.exec("COMMIT");
  let version = dataVersion.get();

  /** Durable events that the main thread was not told of yet. */
  let untold: Event[] = [];

  // Another process committed: what is held may be stale. Its events tell which rows changed.
  const catchUp = () => {
    const current = dataVersion.get();
    if (current === version) return;
    table.cool();
    const events = table.eventsAfter(seen - 1, Number.MAX_SAFE_INTEGER);
    const next = table.next();
    try {
      book.catchUp(events, next, clock.moment().now);
    } catch (error) {
      // Half taken in, what is held can't be trusted any more.
      throw new StoreUnusable(`What another process wrote to ${file} can't be taken in: ${error}`);
    }
    version = current;
    seen = next.seq;
    for (const event of events) untold.push(event);
  };

  // Events and rows of one moment: between two statements another process could commit.
  const catchUpAlone = () => {
    if (dataVersion.get() === version) return;
    db.exec("BEGIN");
    try {
      catchUp();
    } finally {
      db.exec("COMMIT");
    }
  };

  const standing = new Standing();
  let late: readonly Late[] = NONE;

  // All of a batch happens at one moment, that of its transaction: there may have been a wait for the lock.
  const transact = (work: (moment: Moment) => readonly Written[]): readonly Written[] => {
    let began = false;
    try {
      begin.run();
      catchUp();
      book.begin();
      began = true;
      const moment = clock.moment();
      const written = work(moment);
      const served = standing.serve(book, moment);
      const events = book.end();
      commit.run();
      standing.answered(served);
      late = late.length === 0 ? served : [...late, ...served];
      seen += events.length;
      if (untold.length === 0) untold = events as Event[];
      else for (const event of events) untold.push(event);
      return written;
    } catch (error) {
      if (db.inTransaction) db.exec("ROLLBACK");
      if (began) {
        book.rollback(clock.moment().now);
        table.cool();
      }
      throw error;
    }
  };

  const send = (reply: Partial<Reply>, isAnswer: boolean) => {
    const message: Reply = {
      written: NONE,
      answers: NONE,
      ...reply,
      late: late.map(([number, written]) => [number, flattenWritten(written, outgoing)] as const),
      events: untold.length === 0 ? null : flattenEvents(untold),
      policies: fresh,
      isAnswer,
    };
    fresh = [];
    untold = [];
    late = NONE;
    port.postMessage(message);
  };

  // What ends this store for good; null where it may come back.
  const breakage = (error: unknown): string | null => {
    const meaning = translate(error, file);
    if (meaning instanceof StoreUnavailable) return null;
    return meaning instanceof StoreUnusable ? meaning.message : (meaning.stack ?? meaning.message);
  };

  // All of a long log was carried over by the other thread but for the newest commits. With those carried over here,
  // where nothing is written meanwhile, the log begins anew; otherwise it would grow as long as there is no pause.
  const restartLog = () => {
    if (Atomics.exchange(wishes, 0, 0) === 1) db.pragma("wal_checkpoint(PASSIVE)");
  };

  port.on("message", (request: Request | "close") => {
    if (request === "close") {
      clearInterval(looking);
      clearInterval(holding);
      db.close();
      port.postMessage("closed");
      port.close();
      return;
    }
    policies.push(...request.policies);
    const reply: { -readonly [K in keyof Reply]?: Reply[K] } = {};
    if (request.writes.length > 0) {
      try {
        const writes = request.writes.map((write) => unflattenWrite(write, policies));
        // A worker that wants no more must not be given what it gives back in the same batch.
        const withdrawn = writes.filter((write) => write.do === "withdraw");
        const ended = withdrawn.flatMap(({ worker }) => standing.end(Number.NEGATIVE_INFINITY, worker));
        late = [...late, ...ended];
        let now = 0;
        const written = transact((moment) => {
          now = moment.now;
          const all = writes.map((write) => apply(book, write, moment));
          // A claim that would wait looks again: what stood behind it may have made work.
          for (let at = 0; at < writes.length - 1; at++) {
            const write = writes[at] as Write;
            if (standing.waits(write, all[at] as Written, now)) all[at] = apply(book, write, moment);
          }
          return all;
        });
        reply.written = written.map((one, at) => {
          const write = writes[at] as Write;
          if (!standing.waits(write, one, now)) return flattenWritten(one, outgoing);
          return ["waits", standing.add(write as ClaimWrite, clock.moment().now)] satisfies Waits;
        });
        for (const { worker } of withdrawn) {
          late = [...late, ...standing.end(Number.NEGATIVE_INFINITY, worker)];
        }
      } catch (error) {
        const broken = breakage(error);
        if (broken === null) reply.unavailable = translate(error, file).message;
        else reply.broken = broken;
      }
    }
    if (request.reads.length > 0) {
      try {
        catchUpAlone();
        reply.answers = request.reads.map((query) => {
          const answer = answerQuery(book, query, clock.moment());
          const flat = (sight: Sight) => ({
            ...sight,
            job: flattenJob(sight.job, outgoing),
          });
          if (query.get === "job" && answer !== null) return flat(answer as Sight);
          if (query.get !== "rows") return answer;
          return (answer as readonly Sight[]).map(flat);
        });
      } catch (error) {
        reply.unread = translate(error, file).message;
      }
    }
    send(reply, true);
    restartLog();
  });

  const looking = setInterval(() => {
    try {
      catchUpAlone();
      const { now } = clock.moment();
      // A job came due, or another process made work, while a claim waits.
      if (standing.size > 0 && (untold.length > 0 || book.isDue(now))) transact(() => NONE);
      late = [...late, ...standing.end(now)];
      if (untold.length > 0 || late.length > 0) send({}, false);
      restartLog();
    } catch (error) {
      // What can't be read now is read with the next request, which also says why it can't.
      const broken = breakage(error);
      if (broken !== null) send({ broken }, false);
    }
  }, LOOK_EVERY_MS);
  const holding = setInterval(() => {
    if (!book.holds) return;
    try {
      transact((moment) => {
        renew(book, moment);
        return NONE;
      });
      if (untold.length > 0 || late.length > 0) send({}, false);
    } catch (error) {
      // The next round tries again; a lease that can't be renewed lapses, and the fence holds.
      const broken = breakage(error);
      if (broken !== null) send({ broken }, false);
    }
  }, HOLD_EVERY_MS);

  port.postMessage("ready");
}
