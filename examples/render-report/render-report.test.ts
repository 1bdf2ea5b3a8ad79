// Runs the handler of `render-report` for real, over the three million flights, and reads its files back.

import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { inflateSync } from "node:zlib";
import { Interruption } from "coatcheck";
import { parse } from "csv-parse/sync";
import { afterEach, describe, expect, it } from "vitest";
import { type Rehearsal, type RehearsalOptions, rehearse } from "../rehearse.ts";
import { openFlights } from "./flights.ts";
import handler from "./handler.ts";
import { renderReport } from "./operation.ts";

const ran: Rehearsal<unknown, unknown>[] = [];
afterEach(async () => {
  await Promise.all(ran.splice(0).map((run) => run.remove()));
});

async function run(input: object, options: RehearsalOptions<unknown> = {}) {
  const rehearsal = await rehearse(handler, renderReport.input!.parse(input), options);
  ran.push(rehearsal);
  return rehearsal;
}

const csv = (run: { path(name: string): string }) =>
  parse(readFileSync(run.path("report.csv")), { columns: true }) as Record<string, string>[];

/** What a page of a PDF draws: its operators, in order. */
function pagesOf(path: string): { text: string; rects: number; lines: number }[] {
  const pdf = readFileSync(path);
  expect(pdf.subarray(0, 5).toString()).toBe("%PDF-");
  const pages = [];
  for (let at = pdf.indexOf("stream\n"); at !== -1; at = pdf.indexOf("stream\n", at + 1)) {
    const end = pdf.indexOf("\nendstream", at);
    if (end === -1) break;
    let drawn: string;
    try {
      drawn = inflateSync(pdf.subarray(at + 7, end)).toString("latin1");
    } catch {
      continue;
    }
    // pdfkit writes text as hex, cut where letters are moved closer together.
    const text = [...drawn.matchAll(/\[([^\]]*)\] TJ/g)].map(([, parts]) =>
      [...parts!.matchAll(/<([0-9a-f]*)>/g)]
        .map(([, hex]) => Buffer.from(hex!, "hex").toString("latin1"))
        .join(""),
    );
    pages.push({
      text: text.join("\n"),
      rects: drawn.match(/ re$/gm)?.length ?? 0,
      lines: drawn.match(/ l$/gm)?.length ?? 0,
    });
  }
  return pages;
}

describe("render-report", () => {
  it("reports on all flights, with plots, a table and numbered pages", async () => {
    const whole = await run({ title: "Übersicht" });
    expect(whole.output).toEqual({
      flights: 2_999_994,
      rows: 26,
      pages: 3,
      meanDelay: expect.closeTo(6.6678, 4),
      onTime: expect.closeTo(0.7911, 4),
    });
    expect(whole.saved.map(({ name, type }) => [name, type])).toEqual([
      ["report.csv", "text/csv"],
      ["report.pdf", "application/pdf"],
    ]);
    const rows = csv(whole);
    expect(rows).toHaveLength(26);
    expect(rows[0]).toMatchObject({ group: "2001-01-01", flights: "113493", mean_delay: "9.91" });
    expect(rows.reduce((sum, row) => sum + Number(row.flights), 0)).toBe(2_999_994);

    const [plots, more, table] = pagesOf(whole.path("report.pdf"));
    expect(plots!.text).toContain("\xdcbersicht");
    expect(plots!.text).toContain("2,999,994");
    // A bar for each of the 181 days, and a line through them.
    expect(plots!.rects).toBeGreaterThanOrEqual(181);
    expect(plots!.lines).toBeGreaterThanOrEqual(180);
    expect(more!.text).toContain("How late the flights were");
    expect(more!.rects).toBeGreaterThan(30);
    expect(table!.text).toContain("2001-06-25");
    [plots, more, table].forEach((page, index) => {
      expect(page!.text).toContain(`Page ${index + 1} of 3`);
    });
  });

  it("makes a PDF that another program can read", async () => {
    const report = await run({ from: "2001-02-01", to: "2001-02-03", origins: ["SFO"] });
    // Poppler where the machine has it; the structure is judged here in any case.
    const info = await promisify(execFile)("pdfinfo", [report.path("report.pdf")]).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
        return undefined;
      },
    );
    if (info !== undefined) expect(info.stdout).toMatch(/Pages: +3/);
    const pdf = readFileSync(report.path("report.pdf"), "latin1");
    expect(pdf).toContain("/Count 3\n");
    expect(pdf).toMatch(/startxref\n\d+\n%%EOF\n?$/);
  });

  it("applies every filter", async () => {
    const filters = {
      from: "2001-03-01",
      to: "2001-03-14",
      origins: ["SFO", "OAK"],
      notOrigins: ["OAK"],
      notDestinations: ["LAX"],
      minDelay: -10,
      maxDelay: 45,
      minDistance: 300,
      maxDistance: 2000,
      hours: [6, 7, 17],
      weekdays: ["mon", "sat"],
      rows: "flights",
    };
    const chosen = await run(filters);
    const rows = csv(chosen);
    expect(rows.length).toBeGreaterThan(100);
    expect(chosen.output).toMatchObject({ rows: rows.length, flights: rows.length });
    for (const row of rows) {
      const date = new Date(`${row.date}Z`);
      expect([date.getUTCDay(), row.origin]).toEqual([
        expect.toSatisfy((day) => day === 1 || day === 6),
        "SFO",
      ]);
      expect([6, 7, 17]).toContain(date.getUTCHours());
      expect(row.destination).not.toBe("LAX");
      expect(Number(row.delay) >= -10 && Number(row.delay) <= 45).toBe(true);
      expect(Number(row.distance) >= 300 && Number(row.distance) <= 2000).toBe(true);
    }
    expect(new Set(rows.map((row) => row.date!.slice(0, 10)))).toEqual(
      new Set(["2001-03-03", "2001-03-05", "2001-03-10", "2001-03-12"]),
    );
    // Each filter left out chooses more, so none of them is without effect. OAK is kept out by notOrigins alone.
    for (const name of Object.keys(filters)) {
      if (name === "rows") continue;
      const { [name as keyof typeof filters]: _, ...others } = filters;
      const wider = await run(others);
      expect((wider.output as { flights: number }).flights, name).toBeGreaterThan(rows.length);
    }
  });

  it.each([
    ["hour", "06:00", 24],
    ["weekday", "Monday", 7],
    ["day", "2001-01-08", 7],
    ["week", "2001-01-08", 1],
    ["month", "2001-01", 1],
    ["origin", "ATL", undefined],
    ["destination", "ATL", undefined],
    ["route", "LAX-LAS", undefined],
  ] as const)("groups by %s", async (groupBy, group, count) => {
    const grouped = await run({ from: "2001-01-08", to: "2001-01-14", groupBy, tableRows: 10 });
    const rows = csv(grouped);
    expect(rows.map((row) => row.group)).toContain(group);
    expect(rows.reduce((sum, row) => sum + Number(row.flights), 0)).toBe(
      (grouped.output as { flights: number }).flights,
    );
    if (count !== undefined) expect(rows).toHaveLength(count);
  });

  it("says in the report that nothing was found, instead of failing", async () => {
    const empty = await run({ from: "2030-01-01", to: "2030-12-31" });
    expect(empty.output).toEqual({ flights: 0, rows: 0, pages: 1, meanDelay: null, onTime: null });
    expect(readFileSync(empty.path("report.csv"), "utf8")).toMatch(/^group,flights,[^\n]*\n$/);
    expect(pagesOf(empty.path("report.pdf"))[0]!.text).toContain("No flight matches these filters.");
  });

  it("reports a single flight", async () => {
    const one = await run({ from: "2001-01-05", to: "2001-01-05", origins: ["YAK"], destinations: ["JNU"] });
    expect(one.output).toMatchObject({ flights: 1, rows: 1, pages: 3, meanDelay: -13 });
  });

  it("takes SQL in no text: it is bound, or refused before", async () => {
    for (const wrong of [
      { origins: ["SFO') OR 1=1 --"] },
      { from: "2001-01-01' OR '1'='1" },
      { groupBy: "origin; DROP TABLE chosen" },
      { hours: [24] },
      { from: "2001-02-30" },
      { from: "2001-03-02", to: "2001-03-01" },
      { minDelay: 10, maxDelay: 9 },
      { minDistance: 10, maxDistance: 9 },
      { title: "京都" },
      { origins: [] },
    ]) {
      expect(renderReport.input!.safeParse(wrong).success, JSON.stringify(wrong)).toBe(false);
    }
    const title = "'; DROP TABLE chosen; --";
    expect((await run({ from: "2001-06-01", to: "2001-06-01", title })).output).toMatchObject({ pages: 3 });
  });

  it("reports its progress by stage, never backwards", async () => {
    const { progress } = await run({ groupBy: "day", tableRows: 200 });
    const percents = progress.map((report) => report.percent!);
    expect(percents).toEqual([...percents].sort((a, b) => a - b));
    expect([...new Set(progress.map((report) => report.message))]).toEqual([
      "Reading flights",
      "Grouping by day",
      "Writing report.csv",
      ...[1, 2, 3, 4, 5, 6, 7].map((page) => `Drawing page ${page}`),
      "Saving the files",
      "Done",
    ]);
  });

  it.each(["Reading flights", "Grouping by week", "Writing report.csv", "Drawing page 2"])(
    "stops while it is %s when its signal fires",
    async (stage) => {
      const stop = new AbortController();
      const reason = new Interruption("canceled");
      const stopped = await run(
        { rows: stage === "Writing report.csv" ? "flights" : "summary" },
        {
          signal: stop.signal,
          onProgress: ({ message }) => {
            if (message === stage) setImmediate(() => stop.abort(reason));
          },
        },
      );
      expect(stopped.error).toBe(reason);
      expect(stopped.saved).toEqual([]);
      expect(stopped.progress.at(-1)?.message).toBe(stage);
    },
  );

  it("interrupts the query itself, and does not wait for its end", async () => {
    const folder = mkdtempSync(join(tmpdir(), "render-report-"));
    const stop = new AbortController();
    const flights = await openFlights(folder, stop.signal);
    try {
      await flights.choose(renderReport.input!.parse({}), () => {});
      const path = join(folder, "flights.csv");
      const reason = new Interruption("lease-lost");
      const writing = flights.write(path, "flights", "day", () => stop.abort(reason));
      await expect(writing).rejects.toBe(reason);
      // All of them are 96,783,541 bytes.
      expect(existsSync(path) ? statSync(path).size : 0).toBeLessThan(96_000_000);
    } finally {
      flights.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
