// As much of the protocols of PostgreSQL and Redis as it takes to see a commit pass, and what it commits.

import type { Part, Wire } from "./tap.ts";

/** Statements come as text, several in one message (simple query); the last round trip of a transaction ends with COMMIT. */
export const POSTGRES_WIRE: Wire = {
  measure(bytes) {
    // Only what opens a connection has no letter before its length.
    const at = bytes[0] === 0 ? 0 : 1;
    if (bytes.length < at + 4) return 0;
    const length = at + bytes.readUInt32BE(at);
    return bytes.length < length ? 0 : length;
  },
  read(message) {
    if (message[0] !== QUERY) return NOTHING;
    const text = message.toString("latin1");
    if (!/;\s*COMMIT\s*;?\s*\0$/.test(text)) return NOTHING;
    const parts: Part[] = [];
    if (text.includes("INSERT INTO request ")) parts.push("accept");
    if (text.includes('["started",')) parts.push("claim");
    if (/\["(?:completed|failed|canceled|retrying)",/.test(text)) parts.push("settle");
    return { parts, commits: true };
  },
};

/** A script is a transaction: the message that runs it commits. */
export const REDIS_WIRE: Wire = {
  measure(bytes) {
    const head = lineAt(bytes, 0);
    if (head === null) return 0;
    // Commands are arrays of strings.
    let at = head.end;
    for (let left = head.number; left > 0; left--) {
      const size = lineAt(bytes, at);
      if (size === null) return 0;
      at = size.end + size.number + 2;
    }
    return bytes.length < at ? 0 : at;
  },
  read(message) {
    if (!/^\*\d+\r\n\$\d+\r\neval/i.test(message.toString("latin1", 0, 40))) return NOTHING;
    const text = message.toString("latin1");
    const parts: Part[] = [];
    // A new job brings its policy; a change says from where to where its row moves, behind row and token.
    if (text.includes('"maxAttempts":')) parts.push("accept");
    else {
      if (/\n\d{13}[\w-]{16}qp/.test(text)) parts.push("claim");
      if (/\n\d{13}[\w-]{16}[qp][eq]/.test(text)) parts.push("settle");
    }
    return { parts, commits: parts.length > 0 };
  },
};

const NOTHING = { parts: [], commits: false } as const;

const QUERY = "Q".charCodeAt(0);

/** The number of a line such as `*3` or `$12`, and where the next begins; null where it is not whole. */
function lineAt(bytes: Buffer, at: number): { readonly number: number; readonly end: number } | null {
  const end = bytes.indexOf("\r\n", at);
  return end === -1 ? null : { number: Number(bytes.toString("latin1", at + 1, end)), end: end + 2 };
}
