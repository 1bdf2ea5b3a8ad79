// One HTTP request of the demo, and how it is shown: the request line, the status line, and the headers that matter.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { STATUS_CODES } from "node:http";
import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";
import type { Screen } from "./screen.ts";

export interface Ask {
  readonly method: "GET" | "POST";
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON text, or a file that is streamed. */
  readonly body?: string | { readonly path: string };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** How long the status line took. */
  readonly tookMs: number;
  readonly response: Response;
}

let asked = 0;

/** How many requests were sent. */
export function requestCount(): number {
  return asked;
}

/** Sends a request; a redirect is an answer like any other. */
export async function send({ method, url, headers = {}, body }: Ask): Promise<Answer> {
  asked += 1;
  const began = performance.now();
  const response = await fetch(url, {
    method,
    redirect: "manual",
    ...(body === undefined
      ? { headers }
      : typeof body === "string"
        ? { headers, body }
        : await streamed(body.path, headers)),
  });
  return { status: response.status, headers: response.headers, tookMs: performance.now() - began, response };
}

async function streamed(path: string, headers: Readonly<Record<string, string>>) {
  const { size } = await stat(path);
  return {
    headers: { ...headers, "content-length": `${size}` },
    body: Readable.toWeb(createReadStream(path)) as ReadableStream as unknown as NonNullable<
      RequestInit["body"]
    >,
    duplex: "half" as const,
  };
}

// The headers of an answer that are shown, where they are there, in this order; those of the body where it is the result.
const SHOWN = ["location", "retry-after", "idempotency-replayed"];
const OF_RESULT = ["content-type", "content-length", "content-disposition"];

export interface Bodies {
  /** How the request's body is shown; by default JSON as it is, and a file not at all. */
  readonly sent?: string | undefined;
  readonly received?: string | undefined;
}

/** Shows a request and its answer. */
export function show(screen: Screen, ask: Ask, answer: Answer, bodies: Bodies = {}): void {
  const { bold, dim, cyan, green, red } = screen;
  const { pathname, search } = new URL(ask.url);
  const lines = [`  ${dim("→")} ${bold(ask.method)} ${pathname}${search}`];
  for (const [name, value] of Object.entries(ask.headers ?? {})) {
    lines.push(`      ${dim(`${titled(name)}:`)} ${value}`);
  }
  const sent = bodies.sent ?? (typeof ask.body === "string" ? ask.body : undefined);
  if (sent !== undefined) lines.push(`      ${dim(sent)}`);
  const paint = answer.status < 300 ? green : answer.status < 400 ? cyan : red;
  const took = dim(`${Math.max(1, Math.round(answer.tookMs))} ms`);
  lines.push(`  ${dim("←")} ${paint(`${answer.status} ${STATUS_CODES[answer.status] ?? ""}`)}  ${took}`);
  const isResult = answer.status === 200 && !answer.headers.has("retry-after");
  for (const name of isResult ? OF_RESULT : SHOWN) {
    const value = answer.headers.get(name);
    if (value !== null) lines.push(`      ${dim(`${titled(name)}:`)} ${value}`);
  }
  if (bodies.received !== undefined) lines.push(`      ${dim(bodies.received)}`);
  screen.print(`${lines.join("\n")}\n`);
}

/** A number of bytes as people say it. */
export function sizeOf(bytes: number): string {
  const [unit, name] = bytes < 1e6 ? [1e3, "kB"] : [1e6, "MB"];
  return `${(bytes / unit).toFixed(bytes < 1e5 ? 1 : bytes < 1e6 ? 0 : 1)} ${name}`;
}

/** Shows the download of one more file. */
export function showDownload(screen: Screen, ask: Ask, { status, headers }: Answer): void {
  const { bold, dim, green } = screen;
  const facts = `${headers.get("content-type")}, ${sizeOf(Number(headers.get("content-length")))}`;
  screen.print(
    `  ${dim("→")} ${bold(ask.method)} ${new URL(ask.url).pathname}\n` +
      `  ${dim("←")} ${green(`${status} ${STATUS_CODES[status] ?? ""}`)}  ${dim(facts)}\n`,
  );
}

function titled(name: string): string {
  return name.replaceAll(/(^|-)([a-z])/g, (_, dash: string, letter: string) => dash + letter.toUpperCase());
}
