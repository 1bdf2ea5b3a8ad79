// Every bound of the HTTP doors, each with its reason. Bounds of an operation (its body, its file) are the operation's own.

/** Bounds of the routes. */
export interface HttpLimits {
  /** Arrays and objects inside one another. JSON.stringify and structuredClone break at some thousands. */
  readonly jsonDepth: number;
  /** From the first to the last byte of a JSON body. A body that drips in holds a connection and its memory. */
  readonly bodyMs: number;
  /** Silence within an upload. An upload as a whole may take long; one that stands still is dead. */
  readonly uploadIdleMs: number;
  /** Uploads at once. Each holds a file handle and a stream's buffers. */
  readonly uploads: number;
  /** Uploads at once of one owner, so that four slow ones at least are needed to use up everybody's. */
  readonly uploadsPerOwner: number;
  /** Parts of a multipart body, the file included. */
  readonly parts: number;
  /** The name of a multipart field. */
  readonly fieldNameBytes: number;
  /** `Prefer: wait` without a number. Most jobs that are worth waiting for end within it. */
  readonly waitMs: number;
  /** The longest wait. Proxies and load balancers commonly cut silent connections at 60 s. */
  readonly longestWaitMs: number;
  /** Waits at once. Each holds a connection; who comes later is answered at once, as without the preference. */
  readonly waits: number;
  /** Waits at once of one owner, so that no owner uses up everybody's. */
  readonly waitsPerOwner: number;
  /** Jobs in one page of a listing, where none are asked for. */
  readonly page: number;
  /** The largest page. At about 1 kB a job it keeps an answer below 256 kB. */
  readonly largestPage: number;
  /** The latest start that may be asked for. What lies further off belongs into a calendar. */
  readonly delayMs: number;
  /** Unread bytes of a refused request, and uploads when the server stops, keep a connection no longer than this. */
  readonly lingerMs: number;
  /** When to come back from a 503 that names no time itself. */
  readonly retryAfterSeconds: number;
}

export const HTTP_LIMITS: HttpLimits = {
  jsonDepth: 64,
  bodyMs: 30_000,
  uploadIdleMs: 30_000,
  uploads: 64,
  uploadsPerOwner: 16,
  parts: 64,
  fieldNameBytes: 200,
  waitMs: 10_000,
  longestWaitMs: 60_000,
  waits: 10_000,
  waitsPerOwner: 1_000,
  page: 50,
  largestPage: 200,
  delayMs: 30 * 86_400_000,
  lingerMs: 2_000,
  retryAfterSeconds: 2,
};

/**
 * Characters of an id that a caller makes. 22 of them can hold 128 random bits. A hundred is what a segment of a path may
 * have in any app that these routes are mounted in: Fastify looks no longer one up unless it is told to.
 */
export const CALLERS_ID = { least: 22, most: 100 } as const;

/** Bounds of a server's sockets. */
export interface ServerLimits {
  /** The request line and all header fields together. */
  readonly headerBytes: number;
  /** Header fields of one request. */
  readonly headerFields: number;
  /** From the first byte to the end of the headers. */
  readonly headersMs: number;
  /** From the first to the last byte of any request: above the longest honest upload, as bodies have bounds of their own. */
  readonly requestMs: number;
  /** Silence between two requests; above the 60 s of common load balancers, so that they close first. */
  readonly keepAliveMs: number;
  /** How often overdue requests are looked for. */
  readonly checkEveryMs: number;
  /** Open connections; more are dropped by the kernel's hand. */
  readonly connections: number;
}

export const SERVER_LIMITS: ServerLimits = {
  headerBytes: 16 * 1024,
  headerFields: 100,
  headersMs: 15_000,
  requestMs: 6 * 3_600_000,
  keepAliveMs: 72_000,
  checkEveryMs: 1_000,
  connections: 20_000,
};
