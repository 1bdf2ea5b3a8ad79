// How an answer leaves: the one place where answers of the table become replies of Fastify.

import type { IncomingMessage } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { View } from "../core/jobs.ts";
import { type ProblemDocument, publishProblem } from "../core/problem.ts";
import { type Answer, type Content, type Fields, refusal } from "../protocol/answer.ts";
import { encodeStatus, statusDocument } from "../protocol/monitor.ts";
import { formatRetryAfter } from "../protocol/retry-after.ts";
import type { Door } from "./door.ts";

/** Sends an answer of the table; one with a file is sent by `sendResult`. */
export function sendAnswer(reply: FastifyReply, answer: Answer, view: View | null, base: string): void {
  const { content } = answer;
  sendHead(reply, answer);
  reply.send(bodyOf(content, view, base));
}

function bodyOf(content: Content, view: View | null, base: string): string | undefined {
  switch (content.kind) {
    case "status":
      return encodeStatus(view as View, base);
    case "json":
      return content.json;
    case "problem":
      return JSON.stringify(publishProblem(content.problem, base));
    case "problem-with-status": {
      const job = statusDocument(view as View, base);
      return JSON.stringify({ ...publishProblem(content.problem, base), job });
    }
    default:
      return undefined;
  }
}

/** Sets status and header fields. */
export function sendHead(reply: FastifyReply, { status, fields }: Answer): void {
  // Others may have said already by what their part of the answer varies, as CORS does by Origin.
  if (fields.vary !== undefined && reply.hasHeader("vary")) {
    fields.vary = `${reply.getHeader("vary")}, ${fields.vary}`;
  }
  // Our bodies are text already, and no JSON type has a charset (RFC 8259 §11), which Fastify would add.
  reply.code(status).headers(fields).serializer(asItIs);
}

/** Refuses a request. What is left of its body is read for a moment only. */
export function sendProblem(
  door: Pick<Door, "publicUrl" | "limits">,
  request: FastifyRequest,
  reply: FastifyReply,
  document: ProblemDocument,
  fields?: Fields,
): void {
  leaveUnread(request.raw, door.limits.lingerMs);
  const answer = refusal(document, fields);
  if ((document.status === 503 || document.status === 429) && answer.fields["retry-after"] === undefined) {
    answer.fields["retry-after"] = formatRetryAfter(door.limits.retryAfterSeconds);
  }
  sendAnswer(reply, answer, null, door.publicUrl());
}

/** Whether a request brings a body along. */
export function hasBody({ headers }: IncomingMessage): boolean {
  const length = headers["content-length"];
  return (length !== undefined && length !== "0") || headers["transfer-encoding"] !== undefined;
}

// Node reads on after a reply, to keep the connection. Without an end to that, a refused gigabyte would be read whole; and
// without that, the caller could find its connection reset before it has read the refusal.
function leaveUnread(raw: IncomingMessage, lingerMs: number): void {
  if (raw.complete || !hasBody(raw)) return;
  // Of the request, not of its socket: what a host of another kind hands over may have none.
  const timer = setTimeout(() => raw.destroy(), lingerMs);
  timer.unref();
  const clear = () => clearTimeout(timer);
  raw.once("end", clear).once("close", clear);
}

function asItIs(payload: unknown): string {
  return payload as string;
}
