// Reads bodies: what type they claim to be, how long they claim to be, and their bytes within bounds of size and time.

import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { PassThrough, type Readable } from "node:stream";
import { type ProblemDocument, problem } from "../core/problem.ts";

/** A Content-Type, taken apart. */
export interface MediaType {
  /** Lower case, such as `application/json`. */
  readonly essence: string;
  /** Lower case; null where none is given. */
  readonly charset: string | null;
}

const JSON_MEDIA: MediaType = { essence: "application/json", charset: null };

/** The media type of a body; null where there is none, or where it can't be read as one. */
export function parseMediaType(header: string | undefined): MediaType | null {
  if (header === "application/json") return JSON_MEDIA;
  if (header === undefined) return null;
  const [, essence] = /^[ \t]*([!#$%&'*+.^_`|~\w-]+\/[!#$%&'*+.^_`|~\w-]+)[ \t]*(?:;|$)/.exec(header) ?? [];
  if (essence === undefined) return null;
  const [, quoted, bare] = /;[ \t]*charset[ \t]*=[ \t]*(?:"([^"]*)"|([^\s;"]*))/i.exec(header) ?? [];
  return { essence: essence.toLowerCase(), charset: (quoted ?? bare ?? null)?.toLowerCase() ?? null };
}

/** Whether a media type is one of the types or ranges (`video/*`). */
export function acceptsType(types: readonly string[], essence: string): boolean {
  return types.some((type) => {
    const range = type.toLowerCase();
    if (range === essence || range === "*/*") return true;
    return range.endsWith("/*") && essence.startsWith(range.slice(0, -1));
  });
}

/** Why the encoding of a body can't be taken; null where it can. */
export function refuseEncoding(headers: IncomingHttpHeaders): ProblemDocument | null {
  const encoding = headers["content-encoding"];
  if (encoding === undefined || encoding.toLowerCase() === "identity") return null;
  return problem("unsupported-media-type", "Content-Encoding is not supported: send the body as it is.");
}

/** Refuses a body by the length it declares, before a byte of it is read. */
export function refuseLength(headers: IncomingHttpHeaders, maxBytes: number): ProblemDocument | null {
  return Number(headers["content-length"] ?? 0) > maxBytes ? tooLarge(maxBytes) : null;
}

export function tooLarge(maxBytes: number): ProblemDocument {
  return problem("too-large", `It may have ${maxBytes} bytes.`);
}

/** What came of reading: the bytes, a refusal, or nobody who would read an answer. */
export type Read =
  | { readonly bytes: Buffer }
  | { readonly refused: ProblemDocument }
  | { readonly closed: true };

const CLOSED = { closed: true } as const;

/** Reads a whole body into memory. */
export function readBody(
  raw: IncomingMessage,
  response: ServerResponse,
  { maxBytes, timeMs }: { readonly maxBytes: number; readonly timeMs: number },
): Promise<Read> | Read {
  if (raw.readableEnded) {
    const bytes = bytesRead(raw);
    return bytes.length > maxBytes ? { refused: tooLarge(maxBytes) } : { bytes };
  }
  if (raw.destroyed) return CLOSED;
  sayContinue(raw, response);
  return new Promise((resolve) => {
    let first: Buffer | undefined;
    let chunks: Buffer[] | undefined;
    let length = 0;
    const timer = setTimeout(() => done({ refused: TOO_SLOW }), timeMs);
    const done = (read: Read) => {
      clearTimeout(timer);
      raw.removeListener("data", onData).removeListener("end", onEnd).removeListener("close", onClose);
      resolve(read);
    };
    const onData = (chunk: Buffer) => {
      length += chunk.length;
      if (length > maxBytes) done({ refused: tooLarge(maxBytes) });
      else if (first === undefined) first = chunk;
      else if (chunks === undefined) chunks = [first, chunk];
      else chunks.push(chunk);
    };
    const onEnd = () =>
      done({ bytes: chunks === undefined ? (first ?? NO_BYTES) : Buffer.concat(chunks, length) });
    const onClose = () => done(CLOSED);
    // An aborted request also emits an error, which is nobody's mistake here; `close` follows it.
    raw.on("data", onData).on("end", onEnd).on("close", onClose).on("error", ignore);
  });
}

const NO_BYTES = Buffer.alloc(0);
const TOO_SLOW = problem("request-timeout");

// An app that we are mounted in may have read the body before us, as Express's json() and raw() do.
function bytesRead(raw: IncomingMessage): Buffer {
  const { body } = raw as IncomingMessage & { body?: unknown };
  if (body !== undefined) {
    return Buffer.isBuffer(body) ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
  }
  const { "content-length": length = "0", "transfer-encoding": encoding } = raw.headers;
  if (length === "0" && encoding === undefined) return NO_BYTES;
  // Taken for empty, the caller's file would be lost without a word.
  throw new Error("Something in front of the mount has read the body, and left nothing in `request.body`.");
}

/** An upload on its way: a stream that can fail without taking the connection with it. */
export interface Feed {
  readonly stream: Readable;
  /** Why it ended early: the caller hung up, fell silent, or sent more than all parts together may have; or we stop. */
  failure(): "closed" | "silent" | "too-large" | "stopped" | null;
  /** Ends it early. */
  stop(): void;
  /** Takes the stream off the request; to be called when all is over. */
  release(): void;
}

/** Feeds a body to whoever keeps it. The reader may destroy the stream: the request lives on, to be answered. */
export function feedBody(
  raw: IncomingMessage,
  response: ServerResponse,
  { maxBytes, idleMs }: { readonly maxBytes: number; readonly idleMs: number },
): Feed {
  const whole = raw.readableEnded ? bytesRead(raw) : null;
  const stream = new PassThrough();
  let failure: ReturnType<Feed["failure"]> = null;
  let length = 0;
  const fail = (why: typeof failure) => {
    if (failure === null && !raw.readableEnded) {
      failure = why;
      stream.destroy(new Error("The upload ended early."));
    }
  };
  const timer = setTimeout(() => fail("silent"), idleMs);
  const onData = (chunk: Buffer) => {
    timer.refresh();
    length += chunk.length;
    if (length > maxBytes) fail("too-large");
  };
  const onClose = () => fail("closed");
  sayContinue(raw, response);
  if (whole !== null) stream.end(whole);
  else if (raw.destroyed) fail("closed");
  else raw.on("data", onData).on("close", onClose).on("error", ignore).pipe(stream);
  stream.on("error", ignore);
  return {
    stream,
    failure: () => failure,
    stop: () => fail("stopped"),
    release() {
      clearTimeout(timer);
      raw.removeListener("data", onData).removeListener("close", onClose).unpipe(stream);
      if (!stream.destroyed) stream.destroy();
    },
  };
}

/** Set on requests that wait for `100 Continue` and were handed over without it. */
const AWAITED = Symbol("coatcheck.awaited");

/** Notes that a request waits for our word before it sends its body, so that a refusal saves it the sending. */
export function awaitContinue(raw: IncomingMessage): void {
  (raw as { [AWAITED]?: boolean })[AWAITED] = true;
}

function sayContinue(raw: IncomingMessage, response: ServerResponse): void {
  const marked = raw as { [AWAITED]?: boolean };
  if (marked[AWAITED] !== true) return;
  marked[AWAITED] = false;
  response.writeContinue();
}

function ignore(): void {}
