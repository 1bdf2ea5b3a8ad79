// The handler of `render-report`: reads, counts, writes report.csv, draws report.pdf; stops at once at its signal.

import { join } from "node:path";
import { setImmediate as giveWay } from "node:timers/promises";
import type { Handler, HandlerAttempt, InputOf, OutputOf } from "coatcheck";
import { type Flights, openFlights } from "./flights.ts";
import type { renderReport } from "./operation.ts";
import { type Contents, drawReport } from "./report.ts";

type Input = InputOf<typeof renderReport>;

// Where each stage begins, in per cent; every flight in the CSV takes far longer than the groups do.
const STAGES = { read: 0, count: 30, write: 45, draw: 85, save: 98 } as const;
// The PDF's two pages of plots.
const PLOT_PAGES = 2;
// What a page of the table holds is only guessed here, for the progress.
const PAGE_ROWS = 40;
// Up to this span a point for each hour is more telling than one for each day.
const HOURLY_S = 3 * 86_400;
// Widths of the bars of delays: those up to 15 part the late flights from the others.
const DELAY_STEPS = [1, 3, 5, 15, 30, 60, 120];
const MOST_BARS = 50;
const FEWEST_BARS = 12;

const render: Handler<Input, OutputOf<typeof renderReport>> = async (input, attempt) => {
  const { signal } = attempt;
  signal.throwIfAborted();
  const scratch = await attempt.scratch();
  const flights = await openFlights(scratch, signal);
  try {
    attempt.progress(STAGES.read, "Reading flights");
    await flights.choose(input, within(attempt, STAGES.read, STAGES.count, "Reading flights"));
    attempt.progress(STAGES.count, `Grouping by ${input.groupBy}`);
    const chosen = await count(flights, input);
    attempt.progress(STAGES.write, "Writing report.csv");
    const csv = join(scratch, "report.csv");
    const rows = await flights.write(
      csv,
      input.rows,
      input.groupBy,
      within(attempt, STAGES.write, STAGES.draw, "Writing report.csv"),
    );
    const pdf = join(scratch, "report.pdf");
    const pages = await draw(pdf, { input, chosen, csvRows: rows }, attempt);
    attempt.progress(STAGES.save, "Saving the files");
    await attempt.save("report.csv", { path: csv }, "text/csv");
    await attempt.save("report.pdf", { path: pdf }, "application/pdf");
    attempt.progress(100, "Done");
    const { figures } = chosen ?? {};
    return {
      flights: figures?.flights ?? 0,
      rows,
      pages,
      meanDelay: figures?.meanDelay ?? null,
      onTime: figures?.onTime ?? null,
    };
  } finally {
    flights.close();
  }
};

export default render;

async function count(flights: Flights, input: Input): Promise<Contents["chosen"]> {
  const figures = await flights.figures();
  if (figures === undefined) return undefined;
  const unit = figures.last - figures.first <= HOURLY_S ? "hour" : "day";
  const spread = figures.highDelay - figures.lowDelay;
  const step = DELAY_STEPS.find((minutes) => spread / minutes < MOST_BARS - 1) ?? DELAY_STEPS.at(-1)!;
  const low = Math.floor(figures.lowDelay / step) * step;
  const high = Math.max(Math.floor(figures.highDelay / step) + 1, low / step + FEWEST_BARS) * step;
  // One more than is shown tells whether there are more.
  const groups = await flights.groups(input.groupBy, input.tableRows + 1);
  return {
    figures,
    perTime: { unit, counts: await flights.perTime(unit) },
    perDelay: { low, high, step, counts: await flights.perDelay(low, high, step) },
    perHourOfDay: await flights.perHourOfDay(),
    groups: groups.slice(0, input.tableRows),
    moreGroups: groups.length > input.tableRows,
  };
}

async function draw(path: string, contents: Contents, attempt: HandlerAttempt): Promise<number> {
  const rows = contents.chosen?.groups.length ?? 0;
  const expected = contents.chosen === undefined ? 1 : PLOT_PAGES + Math.ceil(rows / PAGE_ROWS);
  return await drawReport(path, contents, async (page) => {
    attempt.progress(
      STAGES.draw + (STAGES.save - STAGES.draw) * Math.min(1, (page - 1) / expected),
      `Drawing page ${page}`,
    );
    await giveWay();
    attempt.signal.throwIfAborted();
  });
}

function within(
  attempt: HandlerAttempt,
  from: number,
  to: number,
  message: string,
): (percent: number) => void {
  return (percent) => attempt.progress(from + ((to - from) * percent) / 100, message);
}
