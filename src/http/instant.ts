// Instants in header fields and queries.

/** An RFC 3339 instant in ms since the epoch; NaN where the text is none. */
export function parseInstant(text: string): number {
  const date = INSTANT.exec(text)?.[1];
  if (date === undefined) return Number.NaN;
  const midnight = Date.parse(`${date}T00:00:00Z`);
  // Date.parse gives every month 31 days, and takes what is left over for the next month's.
  if (Number.isNaN(midnight) || !new Date(midnight).toISOString().startsWith(date)) return Number.NaN;
  return Date.parse(text);
}

// RFC 3339 §5.6; Date.parse takes much more than it.
const INSTANT =
  /^(\d{4}-\d\d-\d\d)[Tt](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;
