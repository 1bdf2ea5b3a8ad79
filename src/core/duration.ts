// A duration as people write it in configuration and headers, and as they read it.

/** Milliseconds, or whole numbers with units in falling order: `"250ms"`, `"15s"`, `"5m"`, `"24h"`, `"30d"`, `"1h30m"`. */
export type Duration = number | string;

/**
 * The milliseconds of a duration, a whole number of at least 0.
 *
 * @param name what the value is called where it was written, for the message
 * @throws RangeError with one sentence for people when the value is not a duration
 */
export function parseDuration(value: Duration, name: string): number {
  const ms =
    typeof value === "number" ? value : typeof value === "string" ? millisecondsOf(value) : Number.NaN;
  if (Number.isSafeInteger(ms) && ms >= 0) return ms;
  throw new RangeError(
    `${name} must be a duration: a whole number of milliseconds of at least 0, or text such as "250ms", "15s", "5m", "24h", "30d" or "1h30m".`,
  );
}

/** A duration for people, in its two largest units: `"250 ms"`, `"2.4 s"`, `"5 min 3 s"`, `"1 h 30 min"`, `"3 d 4 h"`. */
export function formatDuration(ms: number): string {
  if (!(ms > 0)) return "0 s";
  if (ms < 999.5) return `${Math.max(1, Math.round(ms))} ms`;
  if (ms < 59_950) return `${Math.round(ms / 100) / 10} s`;
  if (ms < HOUR_MS - 500) return pair(Math.round(ms / 1000), 60, "min", "s");
  if (ms < DAY_MS - 30_000) return pair(Math.round(ms / 60_000), 60, "h", "min");
  return pair(Math.round(ms / HOUR_MS), 24, "d", "h");
}

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

// Falling units, each at most once: "1h30m" is a duration, "30m1h" and "1h1h" are slips of the pen.
const WRITTEN = /^(?:(\d{1,15})d)?(?:(\d{1,15})h)?(?:(\d{1,15})m)?(?:(\d{1,15})s)?(?:(\d{1,15})ms)?$/;

function millisecondsOf(text: string): number {
  const parts = WRITTEN.exec(text.trim());
  if (parts === null || parts[0] === "") return Number.NaN;
  const [, days = 0, hours = 0, minutes = 0, seconds = 0, ms = 0] = parts;
  return +days * DAY_MS + +hours * HOUR_MS + +minutes * 60_000 + +seconds * 1000 + +ms;
}

function pair(count: number, base: number, large: string, small: string): string {
  const rest = count % base;
  const whole = `${Math.floor(count / base)} ${large}`;
  return rest === 0 ? whole : `${whole} ${rest} ${small}`;
}
