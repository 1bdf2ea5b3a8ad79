// GET /jobs: the caller's own jobs, newest first, in pages.

import type { FastifyReply, FastifyRequest } from "fastify";
import { STATUSES, type Status } from "../core/job.ts";
import type { JobFilter } from "../core/jobs.ts";
import { problem } from "../core/problem.ts";
import { type Fields, JSON_TYPE, PRIVATE } from "../protocol/answer.ts";
import { encodeStatus } from "../protocol/monitor.ts";
import { openCursor, sealCursor } from "./cursor.ts";
import { type Door, identityOf } from "./door.ts";
import { parseInstant } from "./instant.ts";
import { sendHead, sendProblem } from "./reply.ts";

/** Answers with one page: `{ "jobs": [status documents], "next": URL or null }`, and Link rel=next. */
export async function listJobs(door: Door, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const identity = identityOf(request);
  const query = readListQuery(door, request.raw.url ?? "", identity.owner);
  if (typeof query === "string") return sendProblem(door, request, reply, problem("invalid-query", query));
  const page = await door.jobs.list(identity, query.filter);
  const base = door.publicUrl();
  const fields: Fields = { "cache-control": PRIVATE, "content-type": JSON_TYPE };
  let next: string | null = null;
  if (page.next !== null) {
    const parameters = new URLSearchParams(query.parameters);
    parameters.set("cursor", sealCursor(door.cursorKey, query.context, page.next));
    next = `${base}/jobs?${parameters}`;
    fields.link = `<${next}>; rel="next"`;
  }
  sendHead(reply, { status: 200, fields, content: { kind: "nothing" } });
  const jobs = page.views.map((view) => encodeStatus(view, base)).join(",");
  reply.send(`{"jobs":[${jobs}],"next":${JSON.stringify(next)}}`);
}

interface ListQuery {
  readonly filter: JobFilter;
  readonly parameters: URLSearchParams;
  /** Which listing it is: a cursor of another is refused. */
  readonly context: string;
}

/** The query, or what is wrong with it. Nothing is tolerated here: an unknown filter would list too much. */
function readListQuery(door: Door, url: string, owner: string): ListQuery | string {
  const at = url.indexOf("?");
  const parameters = new URLSearchParams(at === -1 ? "" : url.slice(at + 1));
  for (const name of parameters.keys()) {
    if (!FILTERS.includes(name)) return `The filters are ${FILTERS.join(", ")}.`;
    if (parameters.getAll(name).length > 1 && name !== "status" && name !== "operation") {
      return `${name} may be given once.`;
    }
  }
  const status = valuesOf(parameters, "status");
  if (!status.every(isStatus)) return `status is one or several of ${STATUSES.join(", ")}.`;
  const operation = valuesOf(parameters, "operation");
  if (!operation.every((name) => door.operations.has(name)))
    return "operation is the name of one of this server's.";
  const createdFrom = instantOf(parameters.get("createdFrom"));
  const createdTo = instantOf(parameters.get("createdTo"));
  if (Number.isNaN(createdFrom) || Number.isNaN(createdTo)) {
    return "createdFrom (inclusive) and createdTo (exclusive) are RFC 3339 instants.";
  }
  const { page, largestPage } = door.limits;
  const limit = parameters.get("limit") ?? String(page);
  if (!/^\d{1,4}$/.test(limit) || +limit < 1 || +limit > largestPage) {
    return `limit is a whole number from 1 to ${largestPage}.`;
  }
  const context = JSON.stringify([owner, status, operation, createdFrom, createdTo]);
  const cursor = parameters.get("cursor");
  const after = cursor === null ? undefined : openCursor(door.cursorKey, context, cursor);
  if (after === null) return "cursor is not one that this listing gave.";
  return {
    filter: {
      ...(status.length === 0 ? {} : { status: status as Status[] }),
      ...(operation.length === 0 ? {} : { operation }),
      ...(createdFrom === undefined ? {} : { createdFrom }),
      ...(createdTo === undefined ? {} : { createdTo }),
      ...(after === undefined ? {} : { after }),
      limit: +limit,
    },
    parameters,
    context,
  };
}

const FILTERS = ["status", "operation", "createdFrom", "createdTo", "limit", "cursor"];

/** Several values are separated by commas, or the parameter is repeated. */
function valuesOf(parameters: URLSearchParams, name: string): string[] {
  return parameters.getAll(name).flatMap((value) => value.split(","));
}

function isStatus(value: string): value is Status {
  return (STATUSES as readonly string[]).includes(value);
}

/** Undefined where there is none, NaN where it is none. */
function instantOf(value: string | null): number | undefined {
  if (value === null) return undefined;
  // A plus in a query stands for a space, and people paste offsets as they are.
  return parseInstant(value.replace(" ", "+"));
}
