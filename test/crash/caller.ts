// Asks a server over HTTP, on a bounded number of kept connections, and tells a whole reply from none.

import { Pool } from "undici";
import { apiKeyOf } from "./house.ts";

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface Caller {
  /** Null where no whole reply came: whatever was asked may have happened or not. */
  ask(owner: string, method: Method, path: string, options?: AskOptions): Promise<Reply | null>;
  close(): Promise<void>;
}

export type Method = "GET" | "POST" | "PUT" | "DELETE";

export interface AskOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON text. */
  readonly body?: string;
}

/** More than any one part of the test asks for at once. */
const CONNECTIONS = 16;

// Far above what anything here takes: a reply that hangs is a failure, not a wait.
const TIMEOUT_MS = 15_000;

export function createCaller(port: number): Caller {
  const pool = new Pool(`http://127.0.0.1:${port}`, {
    connections: CONNECTIONS,
    pipelining: 1,
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });
  return {
    async ask(owner, method, path, { headers = {}, body } = {}) {
      try {
        const reply = await pool.request({
          method,
          path,
          headers: {
            authorization: `Bearer ${apiKeyOf(owner)}`,
            ...(body === undefined ? {} : { "content-type": "application/json" }),
            ...headers,
          },
          ...(body === undefined ? {} : { body }),
        });
        return { status: reply.statusCode, headers: reply.headers, body: await reply.body.text() };
      } catch {
        return null;
      }
    },
    close: () => pool.destroy(),
  };
}

/** A header that comes once. */
export function headerOf(reply: Reply, name: string): string | undefined {
  const value = reply.headers[name];
  return typeof value === "string" ? value : undefined;
}
