// The Retry-After header (RFC 9110 §10.2.3).

/** Always integer seconds and at least 1; never a date, because dates break several clients. */
export function formatRetryAfter(seconds: number): string {
  // What is not a number asks for the least patience rather than for none at all.
  return seconds > 1 ? String(Math.min(MOST_SECONDS, Math.ceil(seconds))) : "1";
}

/**
 * The seconds that a Retry-After asks to wait, from either of its forms, at least 0 and at most 24 hours; null when the
 * header is missing or malformed.
 *
 * @param now the moment of the answer's arrival, in ms since 1970
 */
export function parseRetryAfter(value: string | null | undefined, now: number): number | null {
  if (value === null || value === undefined) return null;
  const text = value.trim();
  if (DELTA_SECONDS.test(text)) return Math.min(MOST_SECONDS, Number(text));
  if (text.length > 40 || !HTTP_DATE.test(text)) return null;
  // The asctime form names no zone, and HTTP means UTC by it.
  const instant = Date.parse(text.endsWith("GMT") ? text : `${text} GMT`);
  if (Number.isNaN(instant)) return null;
  return Math.min(MOST_SECONDS, Math.max(0, Math.ceil((instant - now) / 1000)));
}

const MOST_SECONDS = 86_400;
const DELTA_SECONDS = /^\d+$/;

// IMF-fixdate, RFC 850 and asctime (RFC 9110 §5.6.7). Checked first, because Date.parse takes far more than these.
const HTTP_DATE =
  /^(?:[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT|[A-Z][a-z]{5,8}, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})$/;
