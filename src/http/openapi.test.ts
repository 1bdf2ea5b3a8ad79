import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import Fastify from "fastify";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { Blobs } from "../blob/blobs.ts";
import type { Job } from "../core/job.ts";
import type { Jobs, View } from "../core/jobs.ts";
import { defineOperation } from "../core/operation.ts";
import { readyOperations } from "../core/operations.ts";
import { PROBLEMS, problem } from "../core/problem.ts";
import { statusDocument } from "../protocol/monitor.ts";
import { createAccess } from "./access.ts";
import { openapi } from "./openapi.ts";
import { type Json, schemaName } from "./openapi-schemas.ts";
import { plugin } from "./plugin.ts";

const PUBLIC_URL = "https://api.example.test/slow";

const Tree = z.object({
  name: z.string(),
  get children() {
    return z.array(Tree);
  },
});

const operations = readyOperations([
  defineOperation({
    name: "render-report",
    title: "Render a report",
    description: "Takes a month, gives a **PDF**.",
    input: z.object({
      month: z.string().min(3),
      pages: z.int().min(1).default(3),
      kind: z.enum(["pdf", "csv"]),
    }),
    output: z.object({ pages: z.number() }),
    idempotency: "required",
  }),
  defineOperation({
    name: "transcode-2",
    path: "/videos/transcode",
    input: z.object({ height: z.int().optional().describe("In pixels.") }),
    file: { types: ["video/*"], maxBytes: 1000, required: true },
  }),
  defineOperation({ name: "import", input: z.object({ table: z.string() }), file: { types: ["text/csv"] } }),
  defineOperation({ name: "sweep" }),
  defineOperation({ name: "grow", input: Tree, output: Tree }),
  defineOperation({
    name: "plain",
    input: {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      $id: "https://schemas.example.test/plain",
      type: "object",
      properties: { self: { $ref: "#" }, kind: { $ref: "#/$defs/kind" } },
      $defs: { kind: { enum: ["a", "b"] } },
    },
  }),
]);

type Operation = Json & {
  readonly parameters?: readonly Json[];
  readonly responses: Readonly<Record<string, Json & { readonly headers?: Json; readonly content?: Json }>>;
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Json }>> } & Json;
};
interface Document extends Json {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Json>> } & Json;
}

const KINDS = ["open", "keys", "jwt", "keys-and-jwt", "app"] as const;

function documentOf(access: (typeof KINDS)[number] = "keys"): Document {
  return openapi({ operations, publicUrl: PUBLIC_URL, access, version: "1.2.3" }) as Document;
}

describe("the document is valid", () => {
  test.each(KINDS)("by the schema of OpenAPI 3.1, with access by %s", async (access) => {
    const document = structuredClone(documentOf(access)) as unknown as Record<string, unknown>;
    expect(await new Validator().validate(document)).toEqual({ valid: true });
  });

  test("by redocly's recommended rules, without a warning", async () => {
    const directory = await mkdtemp(join(tmpdir(), "coatcheck-openapi-"));
    try {
      const files = KINDS.map((access) => `${access}.json`);
      for (const access of KINDS) {
        await writeFile(join(directory, `${access}.json`), JSON.stringify(documentOf(access)));
      }
      const redocly = fileURLToPath(new URL("../../node_modules/@redocly/cli/bin/cli.js", import.meta.url));
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        [redocly, "lint", "--extends=recommended", ...files],
        {
          cwd: directory,
          encoding: "utf8",
          // Nothing is asked of or told to anyone.
          env: { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" },
        },
      );
      const said = `${stdout}${stderr}`;
      for (const file of files) expect(said).toContain(`validating ${file}`);
      expect(said).toContain("Your API descriptions are valid.");
      // "You have 3 warnings." would follow.
      expect(said.match(/^\[\d+\] .*\n\n.*$|You have \d+ .*/gm) ?? []).toEqual([]);
      expect(status).toBe(0);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test.each(KINDS)("and every reference in it leads somewhere, with access by %s", (access) => {
    const document = documentOf(access);
    const refs: string[] = [];
    JSON.stringify(document, (key, value: unknown) => {
      if (key === "$ref") refs.push(value as string);
      return value;
    });
    expect(refs.length).toBeGreaterThan(100);
    expect(refs.filter((ref) => resolve(document, ref) === undefined)).toEqual([]);
  });
});

describe("routes", () => {
  test("every route of the door is in the document with its methods, and no other", async () => {
    const app = Fastify();
    const urls = new Set<string>();
    app.addHook("onRoute", ({ url }) => {
      // A file's name may hold what the router takes for more than one segment.
      urls.add(url.replaceAll(/:(\w+)/g, "{$1}").replace("/*", "/{name}"));
    });
    await app.register(
      plugin({
        jobs: {} as Jobs,
        operations,
        blobs: {} as Blobs,
        access: createAccess({ keys: [] }),
        publicUrl: () => PUBLIC_URL,
        cursorKey: new Uint8Array(32),
        log: { warn() {}, error() {} },
      }),
    );
    const { paths } = documentOf();
    // The server's own, which the door does not have.
    const elsewhere = (path: string) => path.startsWith("/health/") || path === "/openapi.json";
    // Ids that are too long for any route: as unknown as every other path.
    expect(urls.delete("/jobs/{name}")).toBe(true);
    const documented = Object.keys(paths).filter((path) => !elsewhere(path));
    expect(documented.sort()).toEqual([...urls].filter((path) => !elsewhere(path)).sort());
    for (const path of documented) {
      const answer = await app.inject({ method: "PATCH", url: path.replaceAll(/\{\w+\}/g, "x") });
      expect(answer.statusCode).toBe(405);
      const allowed = String(answer.headers.allow).split(", ");
      const methods = Object.keys(paths[path] as object).map((method) => method.toUpperCase());
      const isPage = path.startsWith("/problems") || path.startsWith("/rels");
      expect(allowed.filter((method) => !isPage || method !== "HEAD").sort()).toEqual(methods.sort());
    }
    await app.close();
  });

  test("a mount has no health", () => {
    const { paths } = openapi({
      operations,
      publicUrl: PUBLIC_URL,
      access: "app",
      version: "1",
      health: false,
    }) as Document;
    expect(Object.keys(paths).filter((path) => path.startsWith("/health"))).toEqual([]);
  });
});

describe("answers", () => {
  const statuses = (path: string, method: string, access?: (typeof KINDS)[number]) =>
    Object.keys(documentOf(access).paths[path]?.[method]?.responses ?? {}).join(" ");

  test("a submit documents every one", () => {
    const all = "200 202 400 401 403 408 409 410 413 415 422 429 431 500 503 504 default";
    expect(statuses("/operations/render-report", "post")).toBe(all);
    expect(statuses("/jobs/{id}", "put")).toBe(all);
  });

  test("the monitor, the cancel, the result and the listing document every one", () => {
    expect(statuses("/jobs/{id}", "get")).toBe("200 303 304 400 401 403 404 410 431 500 503");
    expect(statuses("/jobs/{id}", "head")).toBe(statuses("/jobs/{id}", "get"));
    expect(statuses("/jobs/{id}", "delete")).toBe("200 202 204 400 401 403 404 409 410 431 500 503");
    expect(statuses("/jobs/{id}/result", "get")).toBe(
      "200 206 304 400 401 403 404 409 410 416 431 500 503 504 default",
    );
    expect(statuses("/jobs", "get")).toBe("200 400 401 403 431 500 503");
  });

  test("an open server asks for nothing, and so refuses nobody for it", () => {
    const document = documentOf("open");
    expect(JSON.stringify(document)).not.toMatch(/unauthenticated|securitySchemes/);
    expect(statuses("/jobs", "get", "open")).toBe("200 400 431 500 503");
  });

  test("credentials are asked for by their scopes", () => {
    const { paths, components } = documentOf("keys-and-jwt");
    expect(Object.keys(components.securitySchemes as object)).toEqual(["key", "jwt"]);
    expect(paths["/operations/sweep"]?.post?.security).toEqual([{ key: ["submit"] }, { jwt: ["submit"] }]);
    expect(paths["/jobs/{id}"]?.delete?.security).toEqual([{ key: ["cancel"] }, { jwt: ["cancel"] }]);
    expect(paths["/health/live"]?.get?.security).toEqual([]);
  });

  test("a 202 has its header fields and leads on to the job", () => {
    const answer = documentOf().paths["/operations/render-report"]?.post?.responses["202"];
    expect(Object.keys(answer?.headers ?? {})).toEqual([
      ...["Location", "Content-Location", "Retry-After", "Link", "Preference-Applied"],
      ...["Idempotency-Replayed", "RateLimit", "RateLimit-Policy"],
    ]);
    expect(answer?.links).toMatchObject({
      monitor: { operationId: "getJob" },
      result: { operationId: "getResult" },
      cancel: { operationId: "cancelJob" },
    });
    expect(answer?.content).toEqual({
      "application/json": { schema: { $ref: "#/components/schemas/RenderReportStatus" } },
    });
  });

  test("every refusal is a problem document, and every problem that a caller can meet is among the examples", () => {
    const document = documentOf();
    const named = new Set<string>();
    for (const [name, answer] of Object.entries(document.components.responses as Record<string, Json>)) {
      const content = answer.content as Record<string, { readonly examples?: Json }>;
      expect(Object.keys(content), name).toEqual(["application/problem+json"]);
      for (const example of Object.keys(content["application/problem+json"]?.examples ?? {}))
        named.add(example);
    }
    // Of undocumented methods, of a protocol that is none of this document's, and of workers.
    const elsewhere = ["method-not-allowed", "version-not-supported", "lease-lost"];
    expect([...named, ...elsewhere].sort()).toEqual(Object.keys(PROBLEMS).sort());
  });

  test("nothing is promised that is not there", () => {
    expect(JSON.stringify(documentOf())).not.toMatch(/eventsUrl|webhook/i);
  });
});

describe("operations", () => {
  test("each takes its own schema, closed to unknown members as the server checks it", () => {
    const { paths, components } = documentOf();
    const post = paths["/operations/render-report"]?.post;
    expect(post).toMatchObject({
      summary: "Render a report",
      description: "Takes a month, gives a **PDF**.",
    });
    expect(post?.requestBody?.content["application/json"]).toEqual({
      schema: { $ref: "#/components/schemas/RenderReportInput" },
      example: { month: "text", pages: 3, kind: "pdf" },
    });
    expect(components.schemas.RenderReportInput).toMatchObject({
      additionalProperties: false,
      required: ["month", "kind"],
    });
    expect(components.schemas.RenderReportResult).toMatchObject({
      properties: { pages: { type: "number" } },
    });
    expect(components.schemas.RenderReportStatus).toMatchObject({
      allOf: [
        { $ref: "#/components/schemas/Status" },
        { properties: { operation: { const: "render-report" } } },
      ],
    });
  });

  test("one that requires a key says so, another only offers it", () => {
    const { paths } = documentOf();
    expect(paths["/operations/render-report"]?.post?.parameters).toContainEqual(
      expect.objectContaining({ name: "Idempotency-Key", required: true }),
    );
    expect(paths["/operations/sweep"]?.post?.parameters).toContainEqual({
      $ref: "#/components/parameters/IdempotencyKey",
    });
  });

  test("one that takes nothing has no body", () => {
    expect(documentOf().paths["/operations/sweep"]?.post).not.toHaveProperty("requestBody");
  });

  test("a file is a body of its own, or a part; JSON is taken only where the file may be left out", () => {
    const { paths } = documentOf();
    const required = paths["/videos/transcode"]?.post;
    expect(Object.keys(required?.requestBody?.content ?? {})).toEqual(["multipart/form-data", "video/*"]);
    expect(required?.requestBody?.content["multipart/form-data"]?.schema).toMatchObject({
      required: ["file"],
    });
    expect(required?.parameters).toContainEqual({
      name: "height",
      in: "query",
      description: "Where the body is the file itself. In pixels.",
      schema: expect.objectContaining({ type: "integer" }),
    });
    const optional = paths["/operations/import"]?.post;
    expect(Object.keys(optional?.requestBody?.content ?? {})).toEqual([
      "application/json",
      "multipart/form-data",
      "text/csv",
    ]);
  });

  test("PUT takes every one but those that require a file", () => {
    const schema = documentOf().paths["/jobs/{id}"]?.put?.requestBody?.content["application/json"]
      ?.schema as {
      readonly oneOf: readonly { readonly properties: { readonly operation: Json } }[];
    };
    expect(schema.oneOf.map(({ properties }) => properties.operation.const)).toEqual([
      "render-report",
      "import",
      "sweep",
      "grow",
      "plain",
    ]);
  });

  test("a schema that refers to itself does so where the document keeps it", () => {
    const { schemas } = documentOf().components;
    expect(schemas.PlainInput).toMatchObject({
      properties: {
        self: { $ref: "#/components/schemas/PlainInput" },
        kind: { $ref: "#/components/schemas/PlainInput/$defs/kind" },
      },
    });
    expect(schemas.PlainInput).not.toHaveProperty("$id");
    expect(JSON.stringify(schemas.GrowInput)).toContain("#/components/schemas/GrowInput");
  });

  test("different names give different schemas", () => {
    const names = ["a-b", "ab", "a--b", "a-1", "a1", "1a", "a-1-b", "a1-b"];
    expect(new Set(names.map((name) => schemaName(name, "Input"))).size).toBe(names.length);
  });
});

test("every status document is as the document says, and every member is described", () => {
  const document = documentOf();
  const ajv = new Ajv2020({ strict: false });
  (formats as unknown as (ajv: Ajv2020) => void)(ajv);
  ajv.addSchema(document, "document");
  const validate = ajv.getSchema("document#/components/schemas/Status")!;
  const described = Object.keys(document.components.schemas.Status?.properties as object);
  const views: readonly Partial<View & { readonly job: Partial<Job> }>[] = [
    { job: { status: "queued" } as Job, position: 3, completionAt: 5000, waitingFor: "turn" },
    { job: { status: "queued", problem: problem("timed-out"), attempt: 1 } as Job, waitingFor: "retry" },
    {
      job: { status: "processing", progress: 12.5, message: "…", startedAt: 2000 } as Job,
      completionAt: 5000,
    },
    { job: { status: "processing", cancelRequestedAt: 2000 } as Job },
    {
      job: {
        status: "completed",
        finishedAt: 3000,
        expiresAt: 4000,
        files: [{ name: "ä b.pdf", type: "application/pdf", bytes: 1, sha256: "00", blob: "x" }],
      } as unknown as Job,
    },
    { job: { status: "failed", problem: problem("attempt-failed", "It broke.") } as Job },
    { job: { status: "canceled" } as Job },
  ];
  for (const view of views) {
    const whole = statusDocument(
      { ...EMPTY, ...view, job: { ...EMPTY.job, ...view.job } } as View,
      PUBLIC_URL,
    );
    expect(Object.keys(whole)).toEqual(described);
    expect(validate(whole), JSON.stringify(validate.errors)).toBe(true);
  }
  const { status: _, ...without } = statusDocument(EMPTY, PUBLIC_URL);
  expect(validate(without)).toBe(false);
});

const EMPTY = {
  job: {
    id: "kq3v9",
    operation: "sweep",
    policy: { maxAttempts: 3 },
    status: "queued",
    attempt: 0,
    progress: null,
    message: null,
    createdAt: 1000,
    dueAt: 1000,
    startedAt: null,
    updatedAt: 1000,
    finishedAt: null,
    expiresAt: null,
    goneAt: null,
    cancelRequestedAt: null,
    files: [],
    problem: null,
  },
  position: null,
  waitingFor: null,
  completionAt: null,
  retryAfterSeconds: null,
} as unknown as View;

function resolve(document: Json, ref: string): unknown {
  const parts = ref
    .slice(2)
    .split("/")
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  return parts.reduce<unknown>((node, part) => (node as Json | undefined)?.[part], document);
}
