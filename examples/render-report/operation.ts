// The operation `render-report`: a report on a choice of three million flights, as CSV and as a PDF with plots.

import { defineOperation } from "coatcheck";
import { z } from "zod";

const airports = z
  .array(z.string().regex(/^[A-Z]{3}$/, "is the code of an airport, such as SFO"))
  .min(1)
  .max(250);
const minutes = z.int().min(-2000).max(2000);
const miles = z.int().min(0).max(10_000);
// The PDF's own fonts have these characters and no others.
const LATIN = /^[\u0020-\u007e\u00a0-\u00ff\u2013\u2014\u2018\u2019\u201c\u201d\u2022\u2026\u20ac]*$/;

export const WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;

export const renderReport = defineOperation({
  name: "render-report",
  title: "Render a report on flights",
  description:
    "Filters and groups the US flights of January to June 2001; gives report.csv and report.pdf, with plots.",
  input: z
    .object({
      from: z.iso.date().default("2001-01-01").describe("The first day."),
      to: z.iso.date().default("2001-06-30").describe("The last day."),
      origins: airports.optional(),
      destinations: airports.optional(),
      notOrigins: airports.optional(),
      notDestinations: airports.optional(),
      minDelay: minutes.optional().describe("Minutes late at arrival; early is negative."),
      maxDelay: minutes.optional(),
      minDistance: miles.optional().describe("Miles."),
      maxDistance: miles.optional(),
      hours: z.array(z.int().min(0).max(23)).min(1).max(24).optional().describe("Hours of the day."),
      weekdays: z.array(z.enum(WEEKDAYS)).min(1).max(7).optional(),
      groupBy: z
        .enum(["hour", "weekday", "day", "week", "month", "origin", "destination", "route"])
        .default("week")
        .describe("What a row of the table stands for."),
      rows: z
        .enum(["summary", "flights"])
        .default("summary")
        .describe("What report.csv lists: the groups, or every flight."),
      tableRows: z.int().min(0).max(1000).default(40).describe("The most rows of the table in the PDF."),
      title: z
        .string()
        .min(1)
        .max(80)
        .regex(LATIN, "has Latin letters only, as the PDF's fonts have")
        .default("Flight delays"),
    })
    .refine(({ from, to }) => from <= to, { message: "is a day before from", path: ["to"] })
    .refine(({ minDelay, maxDelay }) => ordered(minDelay, maxDelay), {
      message: "is less than minDelay",
      path: ["maxDelay"],
    })
    .refine(({ minDistance, maxDistance }) => ordered(minDistance, maxDistance), {
      message: "is less than minDistance",
      path: ["maxDistance"],
    }),
  output: z.object({
    /** How many flights the filters chose. */
    flights: z.int(),
    /** Rows of report.csv, without its header. */
    rows: z.int(),
    /** Pages of report.pdf. */
    pages: z.int(),
    /** Minutes; null where no flight was chosen. */
    meanDelay: z.number().nullable(),
    /** The share of flights less than 15 minutes late, 0 to 1. */
    onTime: z.number().nullable(),
  }),
  timeout: "10m",
});

function ordered(least: number | undefined, most: number | undefined): boolean {
  return least === undefined || most === undefined || least <= most;
}
