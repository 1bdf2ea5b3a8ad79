// Runs the handler of `import-csv` for real, on real files and databases, and kills it with SIGKILL.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Failure, Interruption } from "coatcheck";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type RehearsalOptions, rehearse } from "../rehearse.ts";
import handler from "./handler.ts";
import type { Standstill, Told } from "./killed.ts";
import { importCsv } from "./operation.ts";
import { type Position, START } from "./source.ts";
import { SQLite } from "./sqlite.ts";
import { databaseOf, type Importer, Target } from "./target.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "import-csv-"));
  process.env.COATCHECK_IMPORTS = home;
});
afterEach(() => {
  delete process.env.COATCHECK_IMPORTS;
  rmSync(home, { recursive: true, force: true });
});

const parsed = (input: object) => importCsv.input!.parse(input);

async function run(input: object, options: RehearsalOptions<Position> = {}) {
  const ran = await rehearse(handler, parsed(input), options);
  await ran.remove();
  return ran;
}

async function runUpload(csv: string | Buffer, input: object = {}, options: RehearsalOptions<Position> = {}) {
  const path = join(home, "upload.csv");
  writeFileSync(path, csv);
  return run({ table: "t", ...input }, { upload: { path, type: "text/csv" }, ...options });
}

/** The rows of a query, from the database below `folder`. */
function query(sql: string, folder = home): Record<string, unknown>[] {
  const db = new SQLite(join(folder, "rehearsal.db"), { readonly: true });
  try {
    return db.prepare(sql).all() as Record<string, unknown>[];
  } finally {
    db.close();
  }
}

const tables = () => query("SELECT name FROM sqlite_schema WHERE type = 'table'").map((row) => row.name);

/** What another importer into the table `t` does at this moment. */
function meanwhile(importer: Importer, work: (target: Target) => void): void {
  const target = new Target(home, "rehearsal.db", { table: "t", replace: false, importer });
  work(target);
  target.close();
}

function digest(table: string, folder = home): string {
  const hash = createHash("sha256");
  for (const row of query(`SELECT * FROM ${table} ORDER BY rowid`, folder)) hash.update(JSON.stringify(row));
  return hash.digest("hex");
}

describe("import-csv", () => {
  it("imports the real zip codes with their leading zeros", async () => {
    const ran = await run({ table: "zips", dataset: "zipcodes" });
    expect(ran.output).toMatchObject({
      database: "rehearsal.db",
      table: "zips",
      rows: 42_049,
      resumedFrom: 0,
    });
    expect(ran.progress.at(-1)).toEqual({ percent: 100, message: "42,049 rows" });
    expect(ran.checkpoints).toHaveLength(9);
    expect(query("SELECT count(*) AS n, min(zip_code) AS first FROM zips")).toEqual([
      { n: 42_049, first: "00501" },
    ]);
    expect(query("SELECT latitude, city FROM zips WHERE zip_code = '00501'")).toEqual([
      { latitude: 40.922326, city: "Holtsville" },
    ]);
  });

  describe("killed at 60 % of 200,000 rows", () => {
    const ROWS = 200_000;

    async function killed(standstill: Standstill): Promise<Position[]> {
      const checkpoints: Position[] = [];
      const script = fileURLToPath(new URL("./killed.ts", import.meta.url));
      const child = spawn(process.execPath, [...process.execArgv, script, String(ROWS), standstill], {
        stdio: ["ignore", "pipe", "inherit"],
        // What the killed process leaves in its temporary folder goes with that folder.
        env: { ...process.env, TMPDIR: home },
      });
      const ended = once(child, "exit");
      for await (const line of createInterface(child.stdout!)) {
        const told = JSON.parse(line) as Told;
        if ("checkpoint" in told) checkpoints.push(told.checkpoint);
        else child.kill("SIGKILL");
      }
      expect(await ended).toEqual([null, "SIGKILL"]);
      return checkpoints;
    }

    let uninterrupted: string;
    beforeAll(async () => {
      const folder = mkdtempSync(join(tmpdir(), "import-csv-"));
      process.env.COATCHECK_IMPORTS = folder;
      await run({ table: "orders", generate: { rows: ROWS } });
      uninterrupted = digest("orders", folder);
      rmSync(folder, { recursive: true });
    });

    it.each([
      ["after-checkpoint", 0],
      ["before-checkpoint", 5000],
    ] as const)(
      "with the kill %s, the next attempt loses no row and doubles none",
      async (standstill, ahead) => {
        const checkpoints = await killed(standstill);
        expect(tables()).not.toContain("orders");
        const resume = checkpoints.at(-1)!;
        expect(resume.rows).toBe(120_000 - ahead);

        const ran = await run({ table: "orders", generate: { rows: ROWS } }, { resume, number: 2 });
        // The table is the judge: it may be a batch ahead of the checkpoint.
        expect(ran.output).toMatchObject({ rows: ROWS, resumedFrom: resume.rows + ahead });
        expect(ran.checkpoints[0]?.rows).toBe(125_000);
        expect(query("SELECT count(*) AS n, count(DISTINCT id) AS ids FROM orders")).toEqual([
          { n: ROWS, ids: ROWS },
        ]);
        expect(digest("orders")).toBe(uninterrupted);
      },
    );
  });

  it("resumes a file at any batch: byte-order mark, CRLF, quoted line breaks and blank lines included", async () => {
    const rows = Array.from({ length: 40 }, (_, row) =>
      row % 7 === 0 ? `${row},"Zürich, ""京都""\nline ${row}"` : `${row},plain ö`,
    );
    const csv = `\ufeffid,name\r\n${rows.join("\r\n")}\r\n\r\n${"99,last"}`;
    await runUpload(csv, { table: "whole", batchRows: 100 });
    expect(query("SELECT name FROM whole WHERE id = 7")).toEqual([{ name: 'Zürich, "京都"\nline 7' }]);

    let resume: Position | undefined;
    let attempts = 0;
    for (let done = false; !done; attempts++) {
      const crash = () => {
        throw new Error("Killed.");
      };
      const options = {
        number: attempts + 1,
        onCheckpoint: crash,
        ...(resume === undefined ? {} : { resume }),
      };
      const ran = await runUpload(csv, { table: "parts", batchRows: 5 }, options);
      resume = ran.checkpoints.at(-1) ?? resume;
      done = ran.error === undefined;
    }
    // 41 rows in nine batches, each of them in an attempt of its own, and one to put the table in place.
    expect(attempts).toBe(10);
    expect(digest("parts")).toBe(digest("whole"));
  });

  it("gives the same result again when the attempt that finished could not say so", async () => {
    const first = await run({ table: "t", generate: { rows: 10 } });
    const again = await run(
      { table: "t", generate: { rows: 10 } },
      { number: 2, resume: first.checkpoints[0]! },
    );
    expect(again.output).toEqual({ ...first.output, resumedFrom: 10 });
    expect(query("SELECT count(*) AS n FROM t")).toEqual([{ n: 10 }]);
  });

  it("lets an attempt that was given up for dead add nothing", async () => {
    const input = { table: "t", generate: { rows: 100 }, batchRows: 10 };
    const stale = await run(input, {
      onCheckpoint: ({ rows }) => {
        if (rows === 30) meanwhile({ job: "rehearsal", attempt: 2 }, (target) => target.resume(true));
      },
    });
    expect(stale.error).toMatchObject({ name: "Error", message: /Another attempt/ });
    expect(stale.checkpoints).toHaveLength(3);
    expect((await run(input, { number: 1 })).error).toMatchObject({ message: /later attempt/ });
    const later = await run(input, { number: 2, resume: stale.checkpoints.at(-1)! });
    expect(later.output).toMatchObject({ rows: 100, resumedFrom: 30 });
    expect(query("SELECT count(DISTINCT id) AS ids, count(*) AS n FROM t")).toEqual([{ ids: 100, n: 100 }]);
  });

  it("gives the table up to another job that began it anew, and leaves that one's work alone", async () => {
    const input = { table: "t", generate: { rows: 100 }, batchRows: 10 };
    const other = { job: "other", attempt: 1 };
    const ran = await run(input, {
      onCheckpoint: () => meanwhile(other, (target) => target.begin([{ name: "x", type: "TEXT" }], START)),
    });
    expect(ran.error).toMatchObject({ name: "Failure", status: 409, type: "table-taken" });
    expect(query("SELECT job FROM coatcheck_imports")).toEqual([{ job: "other" }]);
    expect(tables()).toContain("coatcheck_import_t");
    const late = await run(input, { number: 2, resume: ran.checkpoints[0]! });
    expect(late.error).toMatchObject({ type: "table-taken" });
  });

  it("leaves an existing table alone unless told to replace it, and then replaces it only when whole", async () => {
    await runUpload("a\n1\n");
    const other = new SQLite(join(home, "rehearsal.db"));
    other.exec("UPDATE coatcheck_imports SET job = 'another'");
    other.close();
    const refused = await runUpload("a\n2\n");
    expect(refused.error).toMatchObject({ name: "Failure", status: 409, type: "table-exists" });
    const broken = await runUpload("a\n2\nx\n", { ifExists: "replace", batchRows: 1, text: "b" });
    expect(broken.error).toMatchObject({ status: 422, type: "unknown-column" });
    expect(query("SELECT * FROM t")).toEqual([{ a: 1 }]);
    await runUpload("a\n2\n", { ifExists: "replace" });
    expect(query("SELECT * FROM t")).toEqual([{ a: 2 }]);
  });

  it("stops at its signal and leaves a canceled import without a trace", async () => {
    const stop = new AbortController();
    const reason = new Interruption("canceled");
    const ran = await run(
      { table: "t", generate: { rows: 50_000 } },
      { signal: stop.signal, onCheckpoint: () => stop.abort(reason) },
    );
    expect(ran.error).toBe(reason);
    expect(ran.checkpoints).toHaveLength(1);
    expect(tables()).toEqual(["coatcheck_imports"]);
    expect(query("SELECT * FROM coatcheck_imports")).toEqual([]);
  });

  it.each([
    ["a field too few", "a,b\n1,2\n3\n", 3, /1 fields, and the header row 2/],
    ["a field too many, after a blank line", "a,b\n1,2\n\n1,2,3\n", 4, /3 fields/],
    ["text behind a closing quote", 'a,b\n1,2\n"x"y,2\n', 3, /closing quote/],
    ["a quote inside a field", 'a,b\n1,2\n1,2\nx"y,2\n', 4, /not quoted/],
    ["a quote that is never closed", `a,b\n1,2\n1,"x\n${"1,2\n".repeat(50)}`, 3, /never closed/],
    ["an endless field", `a,b\n1,2\n1,"${"x".repeat(2_000_000)}"\n`, 3, /longer than a mebibyte/],
    ["bytes that are not UTF-8", Buffer.from("a,b\n1,Z\xfcrich\n", "latin1"), 1, /not UTF-8/],
    ["no header row", "", 1, /no header row/],
  ])("refuses %s and names the line", async (_, csv, line, message) => {
    const ran = await runUpload(csv, { batchRows: 1 });
    expect(ran.error).toBeInstanceOf(Failure);
    expect(ran.error).toMatchObject({ status: 422, type: "malformed-csv", extensions: { line } });
    expect((ran.error as Failure).message).toMatch(message);
    expect(tables()).toEqual(["coatcheck_imports"]);
  });

  it("names the line of the file also when it resumed in the middle", async () => {
    const csv = "a,b\n1,2\n1,2\n1,2\n1,2\n3\n";
    const first = await runUpload(
      csv,
      {
        batchRows: 2,
      },
      {
        onCheckpoint: () => {
          throw new Error("Killed.");
        },
      },
    );
    const ran = await runUpload(csv, { batchRows: 2 }, { number: 2, resume: first.checkpoints[0]! });
    expect(ran.error).toMatchObject({ extensions: { line: 6 } });
  });

  it("takes types from the first rows, and refuses rather than changes what does not fit them later", async () => {
    const filler = "7,1.5,x,\n".repeat(1000);
    await runUpload(`i,r,t,empty\n${filler}-12,1e3,,\n,,y,z\n`, { table: "typed" });
    expect(query("SELECT * FROM typed WHERE rowid > 1000")).toEqual([
      { i: -12, r: 1000, t: "", empty: "" },
      { i: null, r: null, t: "y", empty: "z" },
    ]);
    const zip = await runUpload(`zip,a\n${"10001,x\n".repeat(1000)}00501,x\n`);
    expect(zip.error).toMatchObject({ status: 422, type: "type-mismatch", extensions: { line: 1002 } });
    await runUpload(`zip,a\n${"10001,x\n".repeat(1000)}00501,x\n`, { text: "zip" });
    expect(query("SELECT zip FROM t WHERE rowid = 1001")).toEqual([{ zip: "00501" }]);
  });

  it("makes safe, distinct column names of whatever the header says", async () => {
    const ran = await runUpload('"Zip Code",zip_code,,"x"") ; DROP TABLE t; --",Größe\n1,2,3,4,5\n');
    expect(ran.output).toMatchObject({
      columns: ["zip_code", "zip_code_2", "column_3", "x_drop_table_t", "größe"].map((name) => ({
        name,
        type: "INTEGER",
      })),
    });
  });

  it("takes exactly one source", async () => {
    expect((await run({ table: "t" })).error).toMatchObject({ status: 422 });
    expect((await runUpload("a\n", { dataset: "zipcodes" })).error).toMatchObject({ status: 422 });
    const both = { table: "t", dataset: "zipcodes", generate: { rows: 1 } };
    expect(importCsv.input!.safeParse(both).success).toBe(false);
  });

  it.each(["", "T", "1a", "a b", 'a"b', "../a", "sqlite_x", "coatcheck_imports", "a".repeat(64)])(
    "takes no table by the name %j",
    (table) => {
      expect(importCsv.input!.safeParse({ table }).success).toBe(false);
    },
  );

  it("keeps the tables of owners in files apart, whatever an owner is called", () => {
    expect(databaseOf("alice")).toBe("alice.db");
    for (const owner of ["../alice", "Alice", "", "a/b", "a".repeat(65)]) {
      expect(databaseOf(owner)).toMatch(/^~[0-9a-f]{32}\.db$/);
    }
  });
});
