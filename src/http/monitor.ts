// GET and DELETE /jobs/{id}: follow a job, and cancel it.

import type { FastifyReply, FastifyRequest } from "fastify";
import { isSettled } from "../core/job.ts";
import { problem } from "../core/problem.ts";
import { answerCancel, answerStatus } from "../protocol/answer.ts";
import { type Preference, parsePrefer, unmetPreference } from "../protocol/prefer.ts";
import { type Door, identityOf } from "./door.ts";
import { sendAnswer, sendProblem } from "./reply.ts";

type JobRequest = FastifyRequest<{ Params: { readonly id: string } }>;

/** Answers with the status document, after a wait where one is preferred. */
export async function getStatus(door: Door, request: JobRequest, reply: FastifyReply): Promise<void> {
  const { raw } = request;
  const { id } = request.params;
  const identity = identityOf(request);
  const prefer = parsePrefer(raw.headers.prefer as string | undefined);
  const applied: string[] = [];
  const unmet = unmetPreference(prefer, OF_STATUS);
  if (unmet !== null) return sendProblem(door, request, reply, problem("invalid-request", unmet));
  const query = readStatusQuery(raw.url, prefer.handling === "strict");
  if (query === null) return sendProblem(door, request, reply, UNKNOWN_PARAMETER);
  if (prefer.handling === "strict") applied.push("handling=strict");
  let view = await door.jobs.get(identity, id);
  if (prefer.waitSeconds !== null && view !== null && view.job.goneAt === null) {
    const waiting = isSettled(view.job.status)
      ? view
      : door.waits.wait(identity, id, prefer.waitSeconds, reply.raw);
    if (waiting !== null) {
      view = await waiting;
      applied.push("wait");
    }
  }
  const base = door.publicUrl();
  const asked = { redirect: query.redirect, ifNoneMatch: raw.headers["if-none-match"], applied };
  return sendAnswer(reply, answerStatus(asked, view, base), view, base);
}

/** Cancels a job, or asks its attempt to stop. */
export async function cancelJob(door: Door, request: JobRequest, reply: FastifyReply): Promise<void> {
  const prefer = parsePrefer(request.raw.headers.prefer as string | undefined);
  const unmet = unmetPreference(prefer, OF_CANCEL);
  if (unmet !== null) return sendProblem(door, request, reply, problem("invalid-request", unmet));
  const minimal = prefer.return === "minimal";
  const applied: string[] = prefer.return === null ? [] : [`return=${prefer.return}`];
  if (prefer.handling === "strict") applied.push("handling=strict");
  const outcome = await door.jobs.cancel(identityOf(request), request.params.id);
  const refused = outcome !== null && "refused" in outcome ? outcome : null;
  const view =
    refused === null ? (outcome as Exclude<typeof outcome, { refused: unknown }>) : (refused.view ?? null);
  const base = door.publicUrl();
  return sendAnswer(
    reply,
    answerCancel({ minimal, applied }, view, refused?.refused ?? null, base),
    view,
    base,
  );
}

const OF_STATUS: readonly Preference[] = ["wait", "handling"];
const OF_CANCEL: readonly Preference[] = ["return=minimal", "return=representation", "handling"];
const UNKNOWN_PARAMETER = problem(
  "invalid-query",
  "handling=strict: the query has a parameter that this server does not know.",
);

/** SDKs append parameters of their own, so unknown ones are tolerated; null where they must not be. */
function readStatusQuery(url: string | undefined, strict: boolean): { readonly redirect: boolean } | null {
  const at = url === undefined ? -1 : url.indexOf("?");
  if (at === -1) return REDIRECT;
  const parameters = new URLSearchParams((url as string).slice(at + 1));
  if (strict && [...parameters.keys()].some((name) => name !== "redirect")) return null;
  return { redirect: parameters.get("redirect") !== "false" };
}

const REDIRECT = { redirect: true };
