// One request and its answer on a connection that is ready, with every part of the answer bounded.

import { type IncomingMessage, request as open } from "node:http";
import type { Socket } from "node:net";

export interface Exchange {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** The value of `Host`. */
  readonly authority: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | null;
  readonly maxResponseBytes: number;
  /** Whether the body of the answer is wanted; else it is counted and let go. */
  readonly keepBody: boolean;
}

export interface Answer {
  readonly status: number;
  /** Those that a decision may depend on, as they came: `retry-after`, `content-type`, `location`, `etag`. */
  readonly headers: Readonly<Record<string, string>>;
  /** Of the body; at most as many as were allowed. */
  readonly bytes: number;
  /** Whether the whole body came, within the bound and the time. */
  readonly isComplete: boolean;
  /** The body, or its beginning; null where it was not wanted. */
  readonly body: Uint8Array | null;
}

/** What is left of a caller's header fields: these are the connection's own. */
const OURS: ReadonlySet<string> = new Set([
  "accept-encoding",
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const TOLD = ["content-type", "etag", "location", "retry-after"];
/** All header fields of an answer together. */
const HEADER_BYTES = 16 * 1024;

/**
 * Sends the request and reads the answer. Rejects where there is none; once its head is there it is one, however its body
 * goes on. The connection is good for nothing afterwards: whoever opened it closes it.
 */
export async function exchange(socket: Socket, asked: Exchange, signal: AbortSignal): Promise<Answer> {
  return readAnswer(await answerOf(socket, asked, signal), asked, signal);
}

function answerOf(socket: Socket, asked: Exchange, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    // Its end would not be told a second time.
    if (socket.destroyed) throw new Error("The connection was closed before the request.");
    const { method, path, authority, body } = asked;
    const own = Object.entries(asked.headers).filter(([name]) => !OURS.has(name.toLowerCase()));
    const length = body === null ? null : Buffer.byteLength(body);
    const request = open({
      method,
      path,
      // With a connection of its own it has no agent: no pool, and no proxy of the environment.
      createConnection: () => socket,
      setHost: false,
      headers: {
        ...Object.fromEntries(own),
        host: authority,
        connection: "close",
        "accept-encoding": "identity",
        ...(length === null ? {} : { "content-length": length }),
      },
      maxHeaderSize: HEADER_BYTES,
      insecureHTTPParser: false,
    });
    const onAbort = () => request.destroy(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    request.once("response", resolve).on("error", reject);
    request.once("upgrade", () => reject(new Error("The other side changed the protocol.")));
    request.once("close", () => {
      signal.removeEventListener("abort", onAbort);
      reject(new Error("The connection was closed before an answer."));
    });
    if (signal.aborted) onAbort();
    else request.end(body ?? undefined);
  });
}

async function readAnswer(message: IncomingMessage, asked: Exchange, signal: AbortSignal): Promise<Answer> {
  const kept: Uint8Array[] = [];
  let bytes = 0;
  let isComplete = false;
  try {
    for await (const chunk of message as AsyncIterable<Buffer>) {
      const part = chunk.subarray(0, asked.maxResponseBytes - bytes);
      bytes += part.length;
      if (asked.keepBody) kept.push(part);
      if (part.length < chunk.length) break;
    }
    isComplete = message.complete;
  } catch {
    // A body that breaks off, lies about its length or runs out of time: what was answered stands.
  }
  if (signal.aborted) isComplete = false;
  return {
    status: message.statusCode as number,
    headers: Object.fromEntries(
      TOLD.flatMap((name) => {
        const value = message.headers[name];
        return typeof value === "string" ? [[name, value]] : [];
      }),
    ),
    bytes,
    isComplete,
    body: asked.keepBody ? Buffer.concat(kept) : null,
  };
}
