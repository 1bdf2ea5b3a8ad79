// GET /jobs/{id}/result and the files below it; also a file as the direct answer to a submit that was waited for.

import type { FastifyReply, FastifyRequest } from "fastify";
import type { View } from "../core/jobs.ts";
import { problem } from "../core/problem.ts";
import { type Answer, answerResult } from "../protocol/answer.ts";
import { type Door, identityOf } from "./door.ts";
import { sendAnswer, sendHead, sendProblem } from "./reply.ts";

export interface ResultParams {
  readonly id: string;
  /** The name of one of its files. */
  readonly "*"?: string;
}

/** Answers with the result of a job, or with one of its files. */
export async function getResult(
  door: Door,
  request: FastifyRequest<{ Params: ResultParams }>,
  reply: FastifyReply,
): Promise<void> {
  const { id, "*": name = null } = request.params;
  const view = await door.jobs.get(identityOf(request), id);
  const { headers } = request.raw;
  const asked = {
    file: name,
    ifNoneMatch: headers["if-none-match"],
    range: request.method === "GET" ? headers.range : undefined,
    ifRange: headers["if-range"] as string | undefined,
  };
  await sendResult(door, request, reply, answerResult(asked, view, door.publicUrl()), view);
}

/** Sends any answer of the table; a promise only where a file has to be opened. */
export function sendResult(
  door: Door,
  request: FastifyRequest,
  reply: FastifyReply,
  answer: Answer,
  view: View | null,
): Promise<void> | void {
  const { content } = answer;
  if (content.kind !== "file") return sendAnswer(reply, answer, view, door.publicUrl());
  if (request.method !== "HEAD" && content.from <= content.to)
    return sendFile(door, request, reply, answer, content);
  sendHead(reply, answer);
  reply.send(request.method === "HEAD" ? undefined : NO_BYTES);
}

const NO_BYTES = Buffer.alloc(0);

async function sendFile(
  door: Door,
  request: FastifyRequest,
  reply: FastifyReply,
  answer: Answer,
  { file, from, to }: Extract<Answer["content"], { kind: "file" }>,
): Promise<void> {
  const stream = await door.blobs.open(file.blob, { from, to });
  // It expired between the look at the job and the look at its file: all of the file, or 410.
  if (stream === null) return sendProblem(door, request, reply, problem("gone"));
  sendHead(reply, answer);
  reply.send(stream);
}
