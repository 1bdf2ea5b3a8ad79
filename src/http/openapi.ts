// The OpenAPI 3.1 document of a server: its operations by their own schemas, and the protocol around them.

import type { Operations } from "../core/operations.ts";
import { JSON_TYPE } from "../protocol/answer.ts";
import type { AccessKind } from "./access.ts";
import {
  commonRefusals,
  emptyAnswer,
  jsonAnswer,
  refusalAnswers,
  refusalRefs,
  withoutBodies,
} from "./openapi-answers.ts";
import { FIELDS, fieldRefs, PARAMETERS, parameterRef } from "./openapi-fields.ts";
import { type Json, operationSchemas, SCHEMAS, schemaName, schemaRef } from "./openapi-schemas.ts";
import { type Guarded, putJob, submitPath } from "./openapi-submit.ts";

export interface OpenApiOptions {
  readonly operations: Operations;
  /** Without a slash at its end. */
  readonly publicUrl: string;
  /** Which credentials are asked for. */
  readonly access: AccessKind;
  /** Of the API, such as the package's. */
  readonly version: string;
  /** Default "Slow operations". */
  readonly title?: string;
  /** Whether the server has `/health`; a mount has none. Default true. */
  readonly health?: boolean;
}

/** The document, as JSON to be served at `/openapi.json`. */
export function openapi(options: OpenApiOptions): Json {
  const { operations, publicUrl, access, version } = options;
  const guarded = (scope: string) => guardedBy(access, scope);
  const paths: Json = {
    ...Object.fromEntries(
      [...operations.values()].map((ready) => [ready.operation.path, submitPath(ready, guarded)]),
    ),
    "/jobs": listPath(operations, guarded),
    "/jobs/{id}": jobPath(operations, guarded),
    "/jobs/{id}/result": resultPath(operations, guarded),
    "/jobs/{id}/result/{name}": filePath(guarded),
    ...(options.health === false ? {} : HEALTH_PATHS),
    ...aboutPaths(),
  };
  const components = {
    schemas: Object.assign({}, SCHEMAS, ...[...operations.values()].map(operationSchemas)) as Json,
    responses: refusalAnswers(publicUrl, referred(paths, "responses")),
    parameters: only(PARAMETERS, referred(paths, "parameters")),
    headers: FIELDS,
    ...(SECURITY_SCHEMES[access] === undefined ? {} : { securitySchemes: SECURITY_SCHEMES[access] }),
  };
  return {
    openapi: "3.1.0",
    info: {
      title: options.title ?? "Slow operations",
      version,
      description: DESCRIPTION,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: publicUrl }],
    tags: TAGS.filter(({ name }) => options.health !== false || name !== "Health"),
    security: [],
    paths,
    components: { ...components, headers: only(FIELDS, referred({ paths, components }, "headers")) },
  };
}

const DESCRIPTION = `Submit work to an operation and get a **202** with a job. Follow the job at its monitor (\`Location\`), come back after
\`Retry-After\` seconds, and be led to its result by a **303** once it is completed.

Every refusal is a problem document (RFC 9457) whose \`type\` is the URL of its explanation. A request that is repeated with the
same \`Idempotency-Key\` is the same job.`;

const TAGS = [
  { name: "Operations", description: "What can be done here: submit work." },
  { name: "Jobs", description: "Follow, list and cancel jobs, and fetch their results." },
  { name: "Health", description: "For whoever watches the server." },
  { name: "About", description: "This document, and what problems and link relations mean." },
];

const SECURITY_SCHEMES: Readonly<Partial<Record<AccessKind, Json>>> = (() => {
  const key = { type: "http", scheme: "bearer", description: "An API key: `ck_…`." };
  const jwt = {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description: "A JWT of a trusted issuer.",
  };
  return { keys: { key }, jwt: { jwt }, "keys-and-jwt": { key, jwt } };
})();

function guardedBy(access: AccessKind, scope: string): Guarded {
  if (access === "open") return { security: {}, answers: {} };
  const schemes = Object.keys(SECURITY_SCHEMES[access] ?? {});
  return {
    // Where the app knows its callers by its own means, this document can't say how.
    security: schemes.length === 0 ? {} : { security: schemes.map((name) => ({ [name]: [scope] })) },
    answers: refusalRefs("Unauthenticated", "Forbidden"),
  };
}

type Guard = (scope: string) => Guarded;

const BINARY: Json = { type: "string", format: "binary" };

function listPath(operations: Operations, guarded: Guard): Json {
  const { security, answers } = guarded("read");
  const responses = {
    "200": jsonAnswer("A page.", schemaRef("StatusPage"), ["Link"]),
    ...answers,
    ...commonRefusals(),
  };
  const byOperation = {
    name: "operation",
    in: "query",
    description: "One or several, separated by commas.",
    style: "form",
    explode: false,
    schema: { type: "array", items: { type: "string", enum: [...operations.keys()] } },
  };
  const common = {
    tags: ["Jobs"],
    ...security,
    parameters: [
      parameterRef("ByStatus"),
      byOperation,
      ...(["CreatedFrom", "CreatedTo", "Limit", "Cursor"] as const).map(parameterRef),
    ],
  };
  return {
    get: { operationId: "listJobs", summary: "List one's own jobs, newest first", ...common, responses },
    head: headOf("listJobs", common, responses),
  };
}

function jobPath(operations: Operations, guarded: Guard): Json {
  const { security, answers } = guarded("read");
  const cancel = guarded("cancel");
  const status = statusSchema(operations);
  const responses = {
    "200": jsonAnswer("The job as it stands; with Retry-After until it has ended.", status, [
      ...(["ETag", "Retry-After", "Preference-Applied"] as const),
    ]),
    "303": jsonAnswer("The job is completed: its result is at `Location`.", status, [
      "Location",
      "Preference-Applied",
    ]),
    "304": emptyAnswer("Nothing has changed since that ETag.", ["ETag", "Retry-After"]),
    ...answers,
    ...commonRefusals(),
    ...refusalRefs("NotFound", "Gone"),
  };
  const common = {
    tags: ["Jobs"],
    ...security,
    parameters: (["Redirect", "Prefer", "IfNoneMatch"] as const).map(parameterRef),
  };
  const { parameters: putParameters, ...put } = putJob(operations, guarded) as Json & {
    parameters: readonly Json[];
  };
  return {
    get: {
      operationId: "getJob",
      summary: "Follow a job",
      description: "The monitor. With `Prefer: wait=N` it answers once the job ends.",
      ...common,
      parameters: [parameterRef("JobId"), ...common.parameters],
      responses,
    },
    head: headOf(
      "getJob",
      { ...common, parameters: [parameterRef("JobId"), ...common.parameters] },
      responses,
    ),
    put: { ...put, parameters: [parameterRef("CallersJobId"), ...putParameters] },
    delete: {
      operationId: "cancelJob",
      tags: ["Jobs"],
      summary: "Cancel a job",
      description:
        "A queued job is canceled at once, a processing one is asked to stop. A repeat does no harm.",
      ...cancel.security,
      parameters: [parameterRef("JobId"), parameterRef("CancelPrefer")],
      responses: {
        "200": jsonAnswer("It is canceled.", status, ["Content-Location", "ETag", "Preference-Applied"]),
        "202": jsonAnswer("It was asked to stop.", status, [
          ...(["Content-Location", "ETag", "Retry-After", "Preference-Applied"] as const),
        ]),
        "204": emptyAnswer("It is canceled (`return=minimal`).", ["ETag", "Preference-Applied"]),
        ...cancel.answers,
        ...commonRefusals(),
        ...refusalRefs("NotFound", "AlreadySettled", "Gone"),
      },
    },
  };
}

function resultPath(operations: Operations, guarded: Guard): Json {
  const { security, answers } = guarded("read");
  const results = [...operations.keys()].map((name) => schemaRef(schemaName(name, "Result")));
  const file = fileAnswers(
    "The result: JSON, or a file.",
    results.length === 1 ? (results[0] as Json) : { anyOf: results },
  );
  const responses = {
    ...file,
    ...answers,
    ...commonRefusals(),
    ...refusalRefs("NotReady", "Canceled", "Gone", "RangeNotSatisfiable"),
    ...refusalRefs("WorkFailed", "WorkTooSlow", "Failed"),
  };
  const parameters = (["JobId", "IfNoneMatch", "Range", "IfRange"] as const).map(parameterRef);
  const common = { tags: ["Jobs"], ...security, parameters };
  return {
    get: {
      operationId: "getResult",
      summary: "Fetch the result",
      description: "What a completed job gave; of a failed job its problem, under the problem's own status.",
      ...common,
      responses,
    },
    head: headOf("getResult", common, responses),
  };
}

function filePath(guarded: Guard): Json {
  const { security, answers } = guarded("read");
  const responses = {
    ...fileAnswers("The file.", null),
    ...answers,
    ...commonRefusals(),
    ...refusalRefs("NotReady", "Canceled", "Gone", "RangeNotSatisfiable"),
    ...refusalRefs("WorkFailed", "WorkTooSlow", "Failed"),
  };
  const parameters = (["JobId", "FileName", "IfNoneMatch", "Range", "IfRange"] as const).map(parameterRef);
  const common = { tags: ["Jobs"], ...security, parameters };
  return {
    get: { operationId: "getFile", summary: "Fetch a file of the result", ...common, responses },
    head: headOf("getFile", common, responses),
  };
}

function fileAnswers(description: string, json: Json | null): Json {
  const file = { "*/*": { schema: BINARY } };
  const fields = ["ETag", "Content-Disposition", "Accept-Ranges"] as const;
  return {
    "200": {
      description,
      headers: fieldRefs(...fields),
      content: { ...(json === null ? {} : { [JSON_TYPE]: { schema: json } }), ...file },
    },
    "206": {
      description: "The part that Range asked for.",
      headers: fieldRefs(...fields, "Content-Range"),
      content: file,
    },
    "304": emptyAnswer("It is what that ETag says.", ["ETag"]),
  };
}

function headOf(operationId: string, common: Json, responses: Json): Json {
  return {
    operationId: `${operationId}Head`,
    summary: "The same without a body",
    ...common,
    responses: withoutBodies(responses),
  };
}

/** The status document of any of the operations. */
function statusSchema(operations: Operations): Json {
  const schemas = [...operations.keys()].map((name) => schemaRef(schemaName(name, "Status")));
  return schemas.length === 1 ? (schemas[0] as Json) : { anyOf: schemas };
}

const HEALTH: Json = {
  type: "object",
  required: ["status"],
  properties: { status: { type: "string" } },
};

const HEALTH_PATHS: Json = {
  "/health/live": {
    get: {
      operationId: "getLive",
      tags: ["Health"],
      summary: "Whether the server runs",
      security: [],
      responses: { "200": jsonAnswer("It does.", HEALTH), ...commonRefusals() },
    },
  },
  "/health/ready": {
    get: {
      operationId: "getReady",
      tags: ["Health"],
      summary: "Whether the server can take requests now",
      security: [],
      responses: {
        "200": jsonAnswer("It can.", HEALTH),
        ...commonRefusals(),
        "503": jsonAnswer("It can't: its store does not answer, or it is going down.", HEALTH, [
          "Retry-After",
        ]),
      },
    },
  },
};

function aboutPaths(): Json {
  const page = (description: string) => ({
    description,
    content: { "text/html": { schema: { type: "string" } } },
  });
  const about = (operationId: string, summary: string, answer: Json, parameters?: readonly Json[]) => ({
    get: {
      operationId,
      tags: ["About"],
      summary,
      security: [],
      ...(parameters === undefined ? {} : { parameters }),
      responses: {
        "200": answer,
        ...commonRefusals(),
        ...(parameters === undefined ? {} : refusalRefs("NotFound")),
      },
    },
  });
  const name = [
    { name: "name", in: "path", required: true, description: "Its name.", schema: { type: "string" } },
  ];
  return {
    "/openapi.json": about(
      "getOpenApi",
      "This document",
      jsonAnswer("An OpenAPI 3.1 document.", { type: "object" }),
    ),
    "/problems": about("listProblems", "Every kind of problem", page("A list for people.")),
    "/problems/{name}": about(
      "getProblem",
      "What a kind of problem means",
      page("An explanation for people."),
      name,
    ),
    "/rels": about("listRelations", "Every extension relation of links", page("A list for people.")),
    "/rels/{name}": about("getRelation", "What a relation means", page("An explanation for people."), name),
  };
}

/** The names of components of one kind that something refers to. */
function referred(node: unknown, kind: string): Set<string> {
  const found = new Set<string>();
  const start = `#/components/${kind}/`;
  JSON.stringify(node, (key, value: unknown) => {
    if (key === "$ref" && typeof value === "string" && value.startsWith(start))
      found.add(value.slice(start.length));
    return value;
  });
  return found;
}

function only(all: Json, names: ReadonlySet<string>): Json {
  return Object.fromEntries(Object.entries(all).filter(([name]) => names.has(name)));
}
