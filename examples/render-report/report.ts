// The report as a PDF: heading, filters, key figures, plots and a table, on numbered pages.

import { createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import type { InputOf } from "coatcheck";
import PDFDocument from "pdfkit";
import { dayLabel, hoursAxis, minutesAxis, numberLabel, timeAxis, valueAxis } from "./axis.ts";
import type { Count, Figures, Group } from "./flights.ts";
import type { renderReport } from "./operation.ts";
import { ACCENT, drawPlot, INK, MUTED, NEUTRAL, RULE } from "./plot.ts";
import { drawTable } from "./table.ts";

type Input = InputOf<typeof renderReport>;

/** All that the report shows. */
export interface Contents {
  readonly input: Input;
  readonly csvRows: number;
  /** Undefined where no flight was chosen. */
  readonly chosen:
    | {
        readonly figures: Figures;
        readonly perTime: { readonly unit: "hour" | "day"; readonly counts: readonly Count[] };
        readonly perDelay: { readonly low: number; readonly high: number; readonly step: number } & {
          readonly counts: readonly Count[];
        };
        readonly perHourOfDay: readonly Count[];
        readonly groups: readonly Group[];
        readonly moreGroups: boolean;
      }
    | undefined;
}

// A4 in points.
const PAGE = { width: 595.28, height: 841.89 } as const;
const MARGIN = 48;
const WIDTH = PAGE.width - 2 * MARGIN;
const FOOT = PAGE.height - 64;
const LATE_MINUTES = 15;

/** Draws the report into the file `path` and gives its number of pages. `begun` is called with each page's number. */
export async function drawReport(
  path: string,
  contents: Contents,
  begun: (page: number) => Promise<void>,
): Promise<number> {
  const { input, chosen } = contents;
  const doc = new PDFDocument({
    size: "A4",
    // Everything is placed by hand: the margins that would break pages by themselves are off.
    margin: 0,
    autoFirstPage: false,
    bufferPages: true,
    info: { Title: input.title, Creator: "Coatcheck", Subject: "US flights, January to June 2001" },
  });
  const file = createWriteStream(path);
  const written = finished(file);
  // Awaited below; until then a failure must not count as unhandled.
  written.catch(() => {});
  doc.pipe(file);
  let pages = 0;
  const turn = async () => {
    await begun(++pages);
    doc.addPage();
  };
  try {
    await turn();
    const top = drawHead(doc, input);
    if (chosen === undefined) drawNothing(doc, top);
    else {
      drawFigures(doc, top, chosen.figures);
      drawTimes(doc, top + 66, chosen.perTime);
      await turn();
      drawDelays(doc, chosen);
      if (chosen.groups.length > 0) await drawGroups(doc, contents, turn);
    }
    for (let page = 0; page < pages; page++) {
      doc.switchToPage(page);
      drawFoot(doc, page + 1, pages);
    }
    doc.end();
    await written;
    return pages;
  } catch (error) {
    file.destroy();
    throw error;
  }
}

function drawHead(doc: PDFKit.PDFDocument, input: Input): number {
  doc.rect(MARGIN, MARGIN, 28, 3).fill(ACCENT);
  doc.font("Helvetica-Bold").fontSize(22).fillColor(INK);
  doc.text(input.title, MARGIN, MARGIN + 12, { width: WIDTH });
  doc.font("Helvetica").fontSize(11).fillColor(MUTED);
  doc.text(`US flights, ${spanOf(input)}`, MARGIN, doc.y + 2, { width: WIDTH });
  doc.fontSize(8.5);
  const filters = filtersOf(input);
  const text = filters.length === 0 ? "No filters: all flights of these days." : filters.join("   \u2022   ");
  // Many airports would push the plots off the page; the ellipsis says that there are more.
  doc.text(text, MARGIN, doc.y + 6, { width: WIDTH, height: 44, ellipsis: true, lineGap: 1.5 });
  return doc.y + 14;
}

function filtersOf(input: Input): string[] {
  const list = (name: string, values: readonly (string | number)[] | undefined) =>
    values === undefined ? [] : [`${name} ${values.join(", ")}`];
  const range = (name: string, least: number | undefined, most: number | undefined, unit: string) => {
    if (least === undefined && most === undefined) return [];
    if (least === undefined) return [`${name} up to ${numberLabel(most!)} ${unit}`];
    if (most === undefined) return [`${name} from ${numberLabel(least)} ${unit}`];
    return [`${name} ${numberLabel(least)} to ${numberLabel(most)} ${unit}`];
  };
  return [
    ...list("From", input.origins),
    ...list("To", input.destinations),
    ...list("Not from", input.notOrigins),
    ...list("Not to", input.notDestinations),
    ...range("Delay", input.minDelay, input.maxDelay, "minutes"),
    ...range("Distance", input.minDistance, input.maxDistance, "miles"),
    ...list("Hours", input.hours),
    ...list(
      "Days",
      input.weekdays?.map((day) => day[0]!.toUpperCase() + day.slice(1)),
    ),
  ];
}

function drawNothing(doc: PDFKit.PDFDocument, top: number): void {
  doc.rect(MARGIN, top, WIDTH, 84).lineWidth(0.8).strokeColor(NEUTRAL).stroke();
  doc.font("Helvetica-Bold").fontSize(13).fillColor(INK);
  doc.text("No flight matches these filters.", MARGIN, top + 26, { width: WIDTH, align: "center" });
  doc.font("Helvetica").fontSize(9).fillColor(MUTED);
  doc.text("The data are of 1 January to 30 June 2001.", MARGIN, top + 47, { width: WIDTH, align: "center" });
}

function drawFigures(doc: PDFKit.PDFDocument, top: number, figures: Figures): void {
  const cells = [
    [numberLabel(figures.flights), "flights"],
    [`${numberLabel(rounded(figures.meanDelay))} min`, "mean delay"],
    [`${numberLabel(rounded(figures.medianDelay))} min`, "median delay"],
    [`${numberLabel(rounded(figures.onTime * 100))} %`, `less than ${LATE_MINUTES} min late`],
    [numberLabel(figures.routes), "routes"],
  ] as const;
  doc
    .moveTo(MARGIN, top)
    .lineTo(MARGIN + WIDTH, top)
    .lineWidth(0.8)
    .strokeColor(RULE)
    .stroke();
  cells.forEach(([value, name], index) => {
    const left = MARGIN + (index * WIDTH) / cells.length;
    doc.font("Helvetica-Bold").fontSize(17).fillColor(INK);
    doc.text(value, left, top + 11, { lineBreak: false });
    doc.font("Helvetica").fontSize(8.5).fillColor(MUTED);
    doc.text(name, left, top + 32, { lineBreak: false });
  });
  doc
    .moveTo(MARGIN, top + 50)
    .lineTo(MARGIN + WIDTH, top + 50)
    .stroke();
}

function drawTimes(
  doc: PDFKit.PDFDocument,
  top: number,
  { unit, counts }: NonNullable<Contents["chosen"]>["perTime"],
) {
  const step = unit === "hour" ? 3600 : 86_400;
  // Hours are shown as part of their whole days.
  const x = timeAxis(
    Math.floor(counts[0]!.at / 86_400) * 86_400,
    Math.ceil((counts.at(-1)!.at + step) / 86_400) * 86_400,
  );
  const gap = 3 * usualGap(counts);
  const space = FOOT - top - 24;
  // Delays vary more than the number of flights does, and so need more height.
  const height = 0.4 * space;
  drawPlot(
    doc,
    { left: MARGIN, top, width: WIDTH, height },
    {
      title: `Flights per ${unit}`,
      note: "Number of flights",
      x,
      y: valueAxis(
        counts.map(({ flights }) => flights),
        true,
      ),
      bars: counts.map(({ at, flights }) => ({ from: at, to: at + step, value: flights, accent: false })),
    },
  );
  drawPlot(
    doc,
    { left: MARGIN, top: top + height + 24, width: WIDTH, height: space - height },
    {
      title: `Mean delay per ${unit}`,
      note: `Minutes late at arrival, over all flights of the ${unit}`,
      x,
      y: valueAxis(counts.map(({ meanDelay }) => meanDelay)),
      line: counts.map(({ at, meanDelay }, index) => ({
        x: at + step / 2,
        y: meanDelay,
        afresh: index > 0 && at - counts[index - 1]!.at > gap,
      })),
    },
  );
}

function drawDelays(
  doc: PDFKit.PDFDocument,
  { figures, perDelay, perHourOfDay }: NonNullable<Contents["chosen"]>,
) {
  const { low, high, step, counts } = perDelay;
  const height = (FOOT - MARGIN - 28) / 2;
  const percent = (flights: number) => (100 * flights) / figures.flights;
  const outside = 100 - percent(counts.reduce((sum, { flights }) => sum + flights, 0));
  // The mean of a handful of flights at night would dwarf all others and say nothing.
  const hours = perHourOfDay.filter(({ flights }) => percent(flights) >= 0.1);
  const quiet =
    hours.length < perHourOfDay.length ? "; hours with less than 0.1 % of the flights are left out" : "";
  const beyond = outside < 0.05 ? "" : `; ${outside.toFixed(1)} % of the flights lie outside`;
  drawPlot(
    doc,
    { left: MARGIN, top: MARGIN, width: WIDTH, height },
    {
      title: "How late the flights were",
      note: `Per cent of the flights, by minutes late at arrival in steps of ${step}; ${LATE_MINUTES} and more in colour${beyond}`,
      x: minutesAxis(low, high),
      y: valueAxis(counts.map(({ flights }) => percent(flights))),
      bars: counts.map(({ at, flights }) => ({
        from: at,
        to: at + step,
        value: percent(flights),
        accent: at >= LATE_MINUTES,
      })),
    },
  );
  drawPlot(
    doc,
    { left: MARGIN, top: MARGIN + height + 28, width: WIDTH, height },
    {
      title: "Mean delay by the hour of the day",
      note: `Minutes late at arrival; hours above the mean of all flights in colour${quiet}`,
      x: hoursAxis(),
      y: valueAxis(hours.map(({ meanDelay }) => meanDelay)),
      bars: hours.map(({ at, meanDelay }) => ({
        from: at,
        to: at + 1,
        value: meanDelay,
        accent: meanDelay > figures.meanDelay,
      })),
    },
  );
}

async function drawGroups(
  doc: PDFKit.PDFDocument,
  { input, chosen, csvRows }: Contents,
  turn: () => Promise<void>,
) {
  const { groups, moreGroups } = chosen!;
  const more = input.rows === "summary" && moreGroups ? `; report.csv has all ${numberLabel(csvRows)}` : "";
  await drawTable(doc, { left: MARGIN, top: MARGIN, width: WIDTH, height: FOOT - MARGIN }, turn, {
    title: `Flights by ${input.groupBy}`,
    note: `${moreGroups ? `The first ${groups.length} rows` : `${groups.length} rows`}${more}`,
    columns: [
      input.groupBy === "week" ? "Week from" : input.groupBy[0]!.toUpperCase() + input.groupBy.slice(1),
      "Flights",
      "Mean delay",
      "Median delay",
      "Late, %",
      "Longest",
      "Mean miles",
    ],
    rows: groups.map((group) => [
      group.group,
      numberLabel(group.flights),
      fixed(group.mean_delay),
      fixed(group.median_delay),
      fixed(group.late_percent),
      numberLabel(group.longest_delay),
      numberLabel(Math.round(group.mean_distance)),
    ]),
  });
}

function drawFoot(doc: PDFKit.PDFDocument, page: number, pages: number): void {
  const top = PAGE.height - 40;
  doc.font("Helvetica").fontSize(8).fillColor(MUTED);
  doc.text("Data: 3,000,000 US flights of 2001, vega-datasets", MARGIN, top, { lineBreak: false });
  const text = `Page ${page} of ${pages}`;
  doc.text(text, MARGIN + WIDTH - doc.widthOfString(text), top, { lineBreak: false });
}

// The median: where only Mondays were chosen a week is no gap, and where all hours were a night is one.
function usualGap(counts: readonly Count[]): number {
  const gaps = counts.slice(1).map(({ at }, index) => at - counts[index]!.at);
  return gaps.sort((a, b) => a - b)[Math.floor(gaps.length / 2)] ?? Number.POSITIVE_INFINITY;
}

function spanOf({ from, to }: Input): string {
  return from === to ? longDay(from) : `${longDay(from)} to ${longDay(to)}`;
}

function longDay(isoDate: string): string {
  return `${dayLabel(Date.parse(isoDate) / 1000)} ${isoDate.slice(0, 4)}`;
}

const rounded = (value: number) => Math.round(value * 10) / 10;

// A column of numbers reads better with the same number of digits in all of them.
function fixed(value: number): string {
  return value
    .toFixed(1)
    .replace(/^-(?=.*[1-9])/, "\u2013")
    .replace(/^-/, "");
}
