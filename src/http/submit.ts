// POST to an operation's path, and PUT /jobs/{id}: the judgement of a request in the order of what it costs, then the ledger's.

import type { FastifyReply, FastifyRequest } from "fastify";
import type { Accepted, Preview, RateState, Refused, SubmitRequest } from "../core/jobs.ts";
import type { ReadyOperation } from "../core/operations.ts";
import { type ProblemDocument, problem } from "../core/problem.ts";
import { answerSubmit, type Fields, JSON_TYPE, PRIVATE, tellRate } from "../protocol/answer.ts";
import { parseJson } from "../protocol/json.ts";
import { formatInstant, monitorUrl } from "../protocol/monitor.ts";
import { formatRetryAfter } from "../protocol/retry-after.ts";
import { acceptsType, parseMediaType, readBody, refuseEncoding, refuseLength } from "./body.ts";
import { type Door, identityOf } from "./door.ts";
import {
  checkInput,
  fingerprintOf,
  inputText,
  refuseInexact,
  refuseInput,
  type TakenIn,
  takeJson,
  takeNothing,
} from "./intake.ts";
import { CALLERS_ID } from "./limits.ts";
import { hasBody, sendHead, sendProblem } from "./reply.ts";
import { sendResult } from "./result.ts";
import { readTerms, type Terms } from "./terms.ts";
import { discard, takeFile, takeMultipart, unacceptable } from "./upload.ts";

/** Submits to an operation. */
export async function submit(
  door: Door,
  ready: ReadyOperation,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const { operation } = ready;
  const terms = readTerms(request.raw, door);
  if ("refused" in terms) return sendProblem(door, request, reply, terms.refused);
  if (terms.key === null && operation.idempotency === "required") {
    return sendProblem(door, request, reply, problem("idempotency-key-required"));
  }
  const taken = await takeIn(door, ready, request, reply, terms);
  await finish(door, ready, request, reply, terms, taken, null);
}

/** Submits with an id that the caller made: the id makes a repeat the same job. */
export async function submitWithId(
  door: Door,
  request: FastifyRequest<{ Params: { id: string } }>,
  reply: FastifyReply,
): Promise<void> {
  const { id } = request.params;
  if (!isCallersId(id)) return sendProblem(door, request, reply, NOT_RANDOM);
  const terms = readTerms(request.raw, door);
  if ("refused" in terms) return sendProblem(door, request, reply, terms.refused);
  const taken = await takeEnvelope(door, request, reply, terms);
  const ready = "ready" in taken ? taken.ready : null;
  await finish(door, ready, request, reply, terms, taken, id);
}

/** Judges what was taken in together with the ledger, and answers. */
async function finish(
  door: Door,
  ready: ReadyOperation | null,
  request: FastifyRequest,
  reply: FastifyReply,
  terms: Terms,
  taken: TakenIn,
  callersId: string | null,
): Promise<void> {
  if ("closed" in taken) {
    reply.hijack();
    return;
  }
  if ("refused" in taken) return sendProblem(door, request, reply, taken.refused);
  if (ready === null) throw new Error("A request was taken in without an operation.");
  const caller = identityOf(request);
  const submission: SubmitRequest = {
    operation: ready.operation.name,
    input: taken.input,
    upload: taken.upload,
    id: callersId ?? taken.id,
    idFromCaller: callersId !== null,
    key: terms.key,
    fingerprint: taken.fingerprint,
    delayMs: terms.delayMs,
    startWithinMs: terms.startWithinMs,
    priority: terms.priority,
    trace: terms.trace,
  };
  // Where the ledger throws, the job may be there all the same: its file is left to the sweep.
  const outcome = terms.dryRun
    ? await door.jobs.preview(caller, submission)
    : await door.jobs.submit(caller, submission);
  const isNew = "view" in outcome && "replayed" in outcome && !outcome.replayed;
  if (taken.id !== null && !isNew) await discard(door, door.jobs.address(caller.owner, taken.id));
  if ("refused" in outcome) return sendRefused(door, request, reply, outcome);
  if ("quota" in outcome) return sendPreview(door, reply, outcome);
  return sendAccepted(door, request, reply, terms, outcome);
}

/** Reads the body by the type it has, or says why not; nothing is read that could be refused unread. */
function takeIn(
  door: Door,
  ready: ReadyOperation,
  request: FastifyRequest,
  reply: FastifyReply,
  terms: Terms,
): TakenIn | Promise<TakenIn> {
  const { raw } = request;
  const { operation } = ready;
  const { file } = operation;
  const type = raw.headers["content-type"];
  if (type === undefined && !hasBody(raw)) {
    if (hasUnused(terms)) return UNUSED_PARAMETER;
    return operation.input === null ? takeNothing(ready, `POST ${operation.path}`) : NO_TYPE;
  }
  const encoding = refuseEncoding(raw.headers);
  if (encoding !== null) return { refused: encoding };
  const media = parseMediaType(type);
  if (media === null) return NO_TYPE;
  const { essence } = media;
  const source = `POST ${operation.path} ${essence}`;
  const isJson = essence === JSON_TYPE && !(file?.types.includes(JSON_TYPE) ?? false);
  if (hasUnused(terms) && (isJson || essence === MULTIPART)) return UNUSED_PARAMETER;
  if (isJson) {
    if (media.charset !== null && media.charset !== "utf-8" && media.charset !== "utf8") return BAD_CHARSET;
    const tooLong = refuseLength(raw.headers, operation.maxBodyBytes);
    if (tooLong !== null) return { refused: tooLong };
    return readJson(door, ready, request, reply, source);
  }
  if (file === null) return NOT_JSON;
  const delivery = {
    raw,
    response: reply.raw,
    caller: identityOf(request),
    ready,
    file,
    source,
    parameters: terms.parameters,
  };
  if (essence === MULTIPART) return takeMultipart(door, delivery);
  if (!acceptsType(file.types, essence)) return unacceptable(file);
  const tooLong = refuseLength(raw.headers, file.maxBytes);
  return tooLong === null ? takeFile(door, delivery, essence) : { refused: tooLong };
}

/** Only a raw file has its input in the query; elsewhere parameters are none of ours, and tolerated unless told not to. */
function hasUnused({ prefer, parameters }: Terms): boolean {
  return prefer.handling === "strict" && parameters !== null;
}

const MULTIPART = "multipart/form-data";
const UNUSED_PARAMETER: TakenIn = {
  refused: problem(
    "invalid-query",
    "handling=strict: the query has a parameter that this server does not know.",
  ),
};
const NO_TYPE: TakenIn = {
  refused: problem("unsupported-media-type", "The request has no Content-Type that can be read."),
};
const NOT_JSON: TakenIn = {
  refused: problem("unsupported-media-type", "This operation takes application/json."),
};
const BAD_CHARSET: TakenIn = { refused: problem("unsupported-media-type", "JSON is sent in UTF-8.") };

async function readJson(
  door: Door,
  ready: ReadyOperation,
  request: FastifyRequest,
  reply: FastifyReply,
  source: string,
): Promise<TakenIn> {
  const bounds = { maxBytes: ready.operation.maxBodyBytes, timeMs: door.limits.bodyMs };
  const read = await readBody(request.raw, reply.raw, bounds);
  return "bytes" in read ? takeJson(ready, read.bytes, source, door.limits.jsonDepth) : read;
}

/** The body of a PUT: which operation, and its input. */
async function takeEnvelope(
  door: Door,
  request: FastifyRequest,
  reply: FastifyReply,
  terms: Terms,
): Promise<TakenIn | (TakenIn & { readonly ready: ReadyOperation })> {
  const { raw } = request;
  if (hasUnused(terms)) return UNUSED_PARAMETER;
  const encoding = refuseEncoding(raw.headers);
  if (encoding !== null) return { refused: encoding };
  const media = parseMediaType(raw.headers["content-type"]);
  if (media?.essence !== JSON_TYPE) return media === null ? NO_TYPE : NOT_JSON_ENVELOPE;
  if (media.charset !== null && media.charset !== "utf-8" && media.charset !== "utf8") return BAD_CHARSET;
  // Which operation it is, and so how much it takes, is inside.
  const most = Math.max(0, ...[...door.operations.values()].map(({ operation }) => operation.maxBodyBytes));
  const maxBytes = most + ENVELOPE_BYTES;
  const tooLong = refuseLength(raw.headers, maxBytes);
  if (tooLong !== null) return { refused: tooLong };
  const read = await readBody(raw, reply.raw, { maxBytes, timeMs: door.limits.bodyMs });
  if (!("bytes" in read)) return read;
  const parsed = parseJson(read.bytes, { maxDepth: door.limits.jsonDepth });
  if (!parsed.ok) return { refused: problem("invalid-json", parsed.detail) };
  if (parsed.inexact !== null) return refuseInexact(parsed.inexact);
  const envelope = readEnvelope(parsed.value);
  if ("refused" in envelope) return envelope;
  const ready = door.operations.get(envelope.operation);
  if (ready === undefined) {
    return refuseInput([{ detail: "is no operation of this server", pointer: "/operation" }]);
  }
  const { maxBodyBytes, file } = ready.operation;
  if (read.bytes.length > maxBodyBytes + ENVELOPE_BYTES) {
    return { refused: problem("too-large", `It may have ${maxBodyBytes} bytes.`) };
  }
  if (file?.required === true)
    return refuseInput([{ detail: "needs a file: submit it by POST", pointer: "/operation" }]);
  const wrong = await checkInput(ready, envelope.input, "/input");
  if (wrong !== null) return wrong;
  const fingerprint = fingerprintOf(`PUT /jobs/{id} ${JSON_TYPE}`, parsed.text);
  return { input: inputText(ready, envelope.input), upload: null, id: null, fingerprint, ready };
}

const ENVELOPE_BYTES = 1024;
const NOT_JSON_ENVELOPE: TakenIn = {
  refused: problem("unsupported-media-type", "PUT takes application/json."),
};

function readEnvelope(
  value: unknown,
): { readonly operation: string; readonly input: unknown } | { readonly refused: ProblemDocument } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return refuseInput([{ detail: "must be an object with `operation` and `input`", pointer: "" }]);
  }
  const { operation, input = null, ...rest } = value as { operation?: unknown; input?: unknown };
  if (Object.keys(rest).length > 0) {
    return refuseInput([{ detail: "has a member other than `operation` and `input`", pointer: "" }]);
  }
  if (typeof operation !== "string")
    return refuseInput([{ detail: "must be a string", pointer: "/operation" }]);
  return { operation, input };
}

/** Whether a caller's id can be as good as random: a counter or a word is not. */
function isCallersId(id: string): boolean {
  return CALLERS_ID_FORM.test(id) && new Set(id).size >= 6;
}

const { least, most } = CALLERS_ID;
const CALLERS_ID_FORM = new RegExp(`^[A-Za-z0-9_-]{${least},${most}}$`);
/** Why an id can't be a caller's. */
export const NOT_RANDOM = problem(
  "invalid-request",
  `The id in the path must be a UUID, or ${least} to ${most} random letters, digits, hyphens and underscores.`,
);

/** Answers with the 202, or with the outcome where one was waited for; a promise only where something is to be awaited. */
function sendAccepted(
  door: Door,
  request: FastifyRequest,
  reply: FastifyReply,
  terms: Terms,
  accepted: Accepted,
): Promise<void> | void {
  const { waitSeconds } = terms.prefer;
  const identity = identityOf(request);
  // The outcome is for who may read it.
  if (waitSeconds !== null && identity.scopes.has("read")) {
    const waiting = door.waits.wait(identity, accepted.view.job.id, waitSeconds, reply.raw);
    if (waiting !== null) {
      return waiting.then((view) =>
        sendOutcome(door, request, reply, terms, { ...accepted, view: view ?? accepted.view }, true),
      );
    }
  }
  return sendOutcome(door, request, reply, terms, accepted, false);
}

function sendOutcome(
  door: Door,
  request: FastifyRequest,
  reply: FastifyReply,
  { prefer }: Terms,
  { view, replayed, rate }: Accepted,
  waited: boolean,
): Promise<void> | void {
  const isOutcome = waited && view.job.finishedAt !== null && view.job.goneAt === null;
  const minimal = prefer.return === "minimal" && !isOutcome;
  const applied: string[] = [];
  if (prefer.respondAsync && !isOutcome) applied.push("respond-async");
  if (waited) applied.push("wait");
  if (prefer.return !== null && !isOutcome && (minimal || view.job.goneAt === null)) {
    applied.push(`return=${prefer.return}`);
  }
  if (prefer.handling === "strict") applied.push("handling=strict");
  const answer = answerSubmit({ replayed, rate, waited, minimal, applied }, view, door.publicUrl());
  return sendResult(door, request, reply, answer, view);
}

function sendPreview(
  door: Door,
  reply: FastifyReply,
  { repeats, position, completionAt, quota, rate }: Preview,
): void {
  const fields: Fields = { "cache-control": "no-store", "content-type": JSON_TYPE };
  if (rate !== null) tellRate(fields, rate);
  if (repeats !== null) fields["idempotency-replayed"] = "true";
  sendHead(reply, { status: 200, fields, content: { kind: "nothing" } });
  reply.send(
    JSON.stringify({
      repeats: repeats === null ? null : monitorUrl(door.publicUrl(), repeats),
      position,
      estimatedCompletion: completionAt === null ? null : formatInstant(completionAt),
      quota,
    }),
  );
}

function sendRefused(door: Door, request: FastifyRequest, reply: FastifyReply, outcome: Refused): void {
  const { refused, retryAfterSeconds, rate } = outcome;
  sendProblem(door, request, reply, refused, refusedFields(retryAfterSeconds, rate));
}

function refusedFields(retryAfterSeconds: number | null, rate: RateState | null): Fields {
  const fields: Fields = { "cache-control": PRIVATE };
  if (retryAfterSeconds !== null) fields["retry-after"] = formatRetryAfter(retryAfterSeconds);
  if (rate !== null) tellRate(fields, rate);
  return fields;
}
