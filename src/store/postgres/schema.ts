// The tables, and how they come to be: numbered steps, each in a transaction under an advisory lock, so of many servers that
// start at once one makes them and a kill in the middle leaves nothing half done.
//
//   request   what never changes of a job, and what it is found by; written once, emptied when the job expires
//   job       what changes: narrow, with partial indexes only, so that a claim and a settle touch as little as can be
//   sameness  idempotency keys and content: the unique key makes the second submit wait for the first one's commit
//   owner     active and running jobs of an owner: its row is locked by the transaction that counts
//   turn,line fair turns: the last turn of each owner in a line, and how far the line has come
//   tally     how many stand where, as differences that are only inserted (nobody waits for a counter) and summed up later
//   event,feed  one entry for each commit; the feed's row is the last that a transaction locks, so sequences have no gaps
//
// Rows are waited for in one order: jobs, owners, keys, lines, feed, each sorted; whoever claims, and whoever lets a parked job
// stand in line again, skips what others hold. Names compare by their bytes: no other server's idea of an alphabet, and no
// update of one, puts them in another order.

import { StoreUnusable } from "../store.ts";
import { type Connection, first } from "./connection.ts";
import { quoteName } from "./sql.ts";

/** How long a server waits for another one that migrates. */
const MIGRATION_MS = 10 * 60 * 1000;

/** Each adds to what was there: a server of the version before goes on working beside the new one. */
const STEPS: readonly string[] = [
  `
  CREATE TABLE policy (number int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, json text NOT NULL UNIQUE);
  CREATE SEQUENCE job_row;
  CREATE TABLE request (
    row bigint PRIMARY KEY,
    address uuid NOT NULL UNIQUE,
    owner text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    policy int NOT NULL,
    key uuid,
    fingerprint uuid,
    reach smallint,
    id_fingerprint uuid,
    given text NOT NULL
  );
  CREATE INDEX request_owner ON request (owner, row);
  CREATE TABLE job (
    row bigint PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    priority int NOT NULL,
    turn float8 NOT NULL,
    status smallint NOT NULL,
    stand smallint NOT NULL,
    suspect boolean NOT NULL,
    attempt int NOT NULL,
    revision int NOT NULL,
    due_at bigint NOT NULL,
    lease_until bigint,
    look_at bigint,
    is_gone boolean NOT NULL,
    state text NOT NULL
  ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
  CREATE INDEX job_suspects ON job (operation, turn, row) WHERE stand = 1;
  CREATE INDEX job_line ON job (operation, priority DESC, turn, row) WHERE stand = 2;
  CREATE INDEX job_parked ON job (owner, operation, suspect DESC, priority DESC, turn, row) WHERE stand = 3;
  CREATE INDEX job_due ON job (due_at) WHERE stand = 4;
  CREATE INDEX job_look ON job (look_at) WHERE look_at IS NOT NULL;
  CREATE TABLE sameness (key uuid NOT NULL, reach smallint NOT NULL, row bigint NOT NULL, PRIMARY KEY (key, reach));
  CREATE TABLE owner (owner text COLLATE "C" PRIMARY KEY, active bigint NOT NULL, running bigint NOT NULL)
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
  CREATE TABLE line (operation text COLLATE "C" NOT NULL, priority int NOT NULL, virtual float8 NOT NULL, PRIMARY KEY (operation, priority))
    WITH (fillfactor = 50);
  CREATE TABLE turn (operation text COLLATE "C" NOT NULL, priority int NOT NULL, owner text COLLATE "C" NOT NULL, last float8 NOT NULL,
    PRIMARY KEY (operation, priority, owner)) WITH (fillfactor = 50);
  CREATE TABLE tally (operation text COLLATE "C" NOT NULL, stand smallint NOT NULL, priority int NOT NULL, level smallint NOT NULL,
    block bigint NOT NULL, n bigint NOT NULL, is_sum boolean NOT NULL DEFAULT false)
    WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0,
      autovacuum_analyze_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
  CREATE INDEX tally_at ON tally (stand, operation, level, priority, block);
  CREATE UNIQUE INDEX tally_sums ON tally (stand, operation, level, priority, block) WHERE is_sum;
  CREATE INDEX tally_differences ON tally (is_sum) WHERE NOT is_sum;
  CREATE TABLE event (last bigint PRIMARY KEY, at bigint NOT NULL, entries text NOT NULL);
  CREATE TABLE feed (one boolean PRIMARY KEY DEFAULT true CHECK (one), seq bigint NOT NULL) WITH (fillfactor = 10);
  INSERT INTO feed (seq) VALUES (0);
  CREATE INDEX event_at ON event (at);
  CREATE TABLE fact (name text COLLATE "C" PRIMARY KEY, value text NOT NULL);
  CREATE TABLE seen (operation text COLLATE "C" PRIMARY KEY, at bigint NOT NULL) WITH (fillfactor = 50);
  `,
];

/** Brings the schema to what this version needs. @throws StoreUnusable where a newer one has left it unreadable. */
export async function migrate(connection: Connection, schema: string, secret: string): Promise<void> {
  const name = quoteName(schema);
  if ((await versionOf(connection, name)) === STEPS.length) return;
  await connection.alone(async (run) => {
    try {
      await run(
        `BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(hashtextextended('coatcheck ' || '${schema}', 0))`,
        MIGRATION_MS,
      );
      // Who has been given a schema needs no right to make one.
      const [there] = await run(`SELECT to_regnamespace('${name}') IS NOT NULL AS there`);
      if (!first<{ there: boolean }>(there).there) await run(`CREATE SCHEMA ${name}`);
      await run(
        `CREATE TABLE IF NOT EXISTS ${name}.version (number int PRIMARY KEY, readable_from int NOT NULL)`,
      );
      const [{ rows } = { rows: [] }] = await run(
        `SELECT coalesce(max(number), 0) AS number, coalesce(max(readable_from), 0) AS "readableFrom" FROM ${name}.version`,
      );
      const { number, readableFrom } = rows[0] as { number: number; readableFrom: number };
      if (number > STEPS.length && readableFrom > STEPS.length)
        throw new StoreUnusable(
          `The schema ${schema} was made by a newer Coatcheck (version ${number}), which this one can't read.`,
        );
      for (const [at, step] of STEPS.entries()) {
        if (at < number) continue;
        await run(
          `SET LOCAL search_path TO ${name}; ${step}; INSERT INTO version VALUES (${at + 1}, 1)`,
          MIGRATION_MS,
        );
      }
      if (number === 0) await run(`INSERT INTO ${name}.fact VALUES ('secret', '${secret}')`);
      await run("COMMIT");
    } catch (error) {
      await run("ROLLBACK").catch(() => {});
      throw error;
    }
  });
}

async function versionOf(connection: Connection, name: string): Promise<number> {
  const [{ rows } = { rows: [] }] = await connection.ask(
    `SELECT to_regclass('${name}.version') IS NOT NULL AS there`,
  );
  if ((rows[0] as { there: boolean }).there !== true) return 0;
  const [found] = await connection.ask(`SELECT coalesce(max(number), 0) AS number FROM ${name}.version`);
  return first<{ number: number }>(found).number;
}
