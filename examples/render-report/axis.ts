// Axes whose ticks fall on numbers that a reader expects: 1, 2, 5, 10; quarters of an hour; days and months.

import type { Axis, Tick } from "./plot.ts";

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"] as const;

/** An axis for these values and zero, that ends on ticks; of things that are counted no tick is a fraction. */
export function valueAxis(values: readonly number[], counted = false): Axis {
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const rough = niceStep((high - low || 1) / 6);
  const step = counted ? Math.max(1, rough) : rough;
  const min = Math.floor(low / step) * step;
  const max = Math.max(Math.ceil(high / step), min / step + 1) * step;
  return { min, max, ticks: every(step, min, max, numberLabel) };
}

/** An axis in minutes. */
export function minutesAxis(min: number, max: number): Axis {
  const steps = [1, 5, 15, 30, 60, 120, 240, 480];
  const step = steps.find((minutes) => (max - min) / minutes <= 16) ?? 960;
  return { min, max, ticks: every(step, min, max, numberLabel) };
}

/** An axis of the hours of the day; a tick stands below the middle of its hour. */
export function hoursAxis(): Axis {
  const ticks = every(2, 0, 23, (hour) => `${String(hour).padStart(2, "0")}:00`);
  return { min: 0, max: 24, ticks: ticks.map(({ at, label }) => ({ at: at + 0.5, label })) };
}

/** An axis of epoch seconds, with ticks at hours, days or months. */
export function timeAxis(min: number, max: number): Axis {
  const span = max - min;
  if (span <= 4 * DAY_S) {
    const step = (span <= DAY_S ? 2 : 6) * HOUR_S;
    return { min, max, ticks: every(step, min, max, (at) => hourLabel(at)) };
  }
  if (span <= 75 * DAY_S) {
    const step = Math.ceil(span / DAY_S / 12) * DAY_S;
    return { min, max, ticks: every(step, min, max, dayLabel, min) };
  }
  return { min, max, ticks: monthTicks(min, max) };
}

/** Of 12,345.6 "12,346"; small numbers keep a digit. A dash stands for the minus that the PDF's fonts lack. */
export function numberLabel(value: number): string {
  const digits = Number.isInteger(value) ? 0 : Math.abs(value) < 100 ? 1 : 0;
  const text = Math.abs(value).toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return value < 0 && /[1-9]/.test(text) ? `\u2013${text}` : text;
}

export function dayLabel(at: number): string {
  const day = new Date(at * 1000);
  return `${day.getUTCDate()} ${MONTHS[day.getUTCMonth()]}`;
}

function hourLabel(at: number): string {
  const hour = new Date(at * 1000).getUTCHours();
  return hour === 0 ? dayLabel(at) : `${String(hour).padStart(2, "0")}:00`;
}

function monthTicks(min: number, max: number): Tick[] {
  const ticks: Tick[] = [];
  const day = new Date(min * 1000);
  let month = Date.UTC(day.getUTCFullYear(), day.getUTCMonth(), 1);
  while (month / 1000 <= max) {
    if (month / 1000 >= min) ticks.push({ at: month / 1000, label: MONTHS[new Date(month).getUTCMonth()]! });
    const here = new Date(month);
    month = Date.UTC(here.getUTCFullYear(), here.getUTCMonth() + 1, 1);
  }
  return ticks;
}

function every(
  step: number,
  min: number,
  max: number,
  label: (at: number) => string,
  from = Math.ceil(min / step) * step,
): Tick[] {
  const ticks: Tick[] = [];
  // Multiplied, not added up: ten times 0.1 is less than 1.
  for (let index = 0; from + index * step <= max + step * 1e-9; index++) {
    const at = Number((from + index * step).toPrecision(12));
    ticks.push({ at, label: label(at) });
  }
  return ticks;
}

function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
}
