// What is said when there is no answer about a job: errors, unknown paths, wrong methods, and the pages that explain problems.

import { randomUUID } from "node:crypto";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from "fastify";
import { BlobTooLarge } from "../blob/blobs.ts";
import { PROBLEMS, type ProblemDocument, problem } from "../core/problem.ts";
import { StoreUnavailable } from "../store/store.ts";
import type { Door } from "./door.ts";
import { sendProblem } from "./reply.ts";

type Speaker = Pick<Door, "publicUrl" | "limits" | "log">;

/** Answers what a handler or Fastify threw, without a word of it where it is a bug. */
export function errorHandler(door: Speaker) {
  return (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
    // The caller is gone, or has half of an answer already: there is nobody to tell.
    if (reply.raw.headersSent || reply.raw.destroyed) return reply.raw.destroy();
    return sendProblem(door, request, reply, problemOf(error, door, request));
  };
}

function problemOf(error: FastifyError, door: Speaker, request: FastifyRequest): ProblemDocument {
  if (error instanceof StoreUnavailable) {
    door.log.warn({ err: error }, "The store could not answer.");
    return problem("unavailable");
  }
  if (error instanceof BlobTooLarge) return problem("too-large", `It may have ${error.maxBytes} bytes.`);
  if (typeof error.code === "string" && error.code.startsWith("FST_ERR_") && error.statusCode !== undefined) {
    if (error.statusCode === 413) return problem("too-large");
    if (error.statusCode === 415) return problem("unsupported-media-type");
    if (error.statusCode < 500) return problem("invalid-request");
  }
  const instance = `urn:uuid:${randomUUID()}`;
  door.log.error({ err: error, instance, method: request.method }, "A request ended in an unexpected error.");
  return problem("internal-error", undefined, { instance });
}

/** Answers every method of `url` that is not `allowed`: 405 with Allow, and OPTIONS. */
export function addMethodGuard(
  instance: FastifyInstance,
  door: Speaker,
  url: string,
  allowed: readonly string[],
): void {
  const allow = allowed.join(", ");
  const rest = instance.supportedMethods.filter(
    (method) => method !== "OPTIONS" && !allowed.includes(method),
  ) as HTTPMethods[];
  instance.route({
    method: rest,
    url,
    // In a hook, so that no body of any kind can be wrong first.
    onRequest: (request, reply) => {
      sendProblem(door, request, reply, problem("method-not-allowed"), {
        allow,
        "cache-control": "private, no-store",
      });
    },
    handler: (_request, reply) => reply.send(),
  });
  instance.route({
    method: "OPTIONS",
    url,
    handler: (_request, reply) => reply.code(204).header("allow", allow).send(),
  });
}

/** The pages behind the `type` of problems and the extension relations of links. They need no credentials. */
export function addPages(instance: FastifyInstance, door: Speaker): void {
  const pages: Record<string, Readonly<Record<string, Page>>> = { "/problems": PROBLEMS, "/rels": RELATIONS };
  for (const [url, entries] of Object.entries(pages)) {
    const index = listPage(entries, url.slice(1));
    instance.route({
      method: ["GET", "HEAD"],
      url,
      handler: (_request, reply) => sendPage(reply, index),
    });
    // Not `:name`, as a long one would be answered by the router of the app around us.
    instance.route<{ Params: { "*": string } }>({
      method: ["GET", "HEAD"],
      url: `${url}/*`,
      handler: (request, reply) => {
        const { "*": name } = request.params;
        const entry = Object.hasOwn(entries, name) ? entries[name] : undefined;
        if (entry === undefined) return sendProblem(door, request, reply, problem("not-found"));
        return sendPage(reply, entryPage(name, entry));
      },
    });
    addMethodGuard(instance, door, url, ["GET", "HEAD"]);
    addMethodGuard(instance, door, `${url}/*`, ["GET", "HEAD"]);
  }
}

interface Page {
  readonly title: string;
  readonly help: string;
  readonly status?: number;
}

const RELATIONS = {
  result: {
    title: "The result of the job",
    help: "GET it once the monitor says that the job is completed. Until then it answers 404 `result-not-ready`.",
  },
  cancel: {
    title: "The job, to be canceled",
    help: "Send DELETE to this URL. A queued job is canceled at once; a processing one is asked to stop.",
  },
} as const satisfies Record<string, Page>;

function sendPage(reply: FastifyReply, html: string): void {
  reply
    .headers({
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "x-content-type-options": "nosniff",
      "cache-control": "public, max-age=3600",
    })
    .send(html);
}

function entryPage(name: string, { title, help, status }: Page): string {
  const facts = status === undefined ? "" : `<p>HTTP status: ${status}</p>`;
  return htmlPage(title, `<p><code>${escapeHtml(name)}</code></p>${facts}<p>${escapeHtml(help)}</p>`);
}

function listPage(entries: Readonly<Record<string, Page>>, folder: string): string {
  const items = Object.entries(entries).map(
    ([name, { title }]) =>
      `<li><a href="${folder}/${encodeURIComponent(name)}"><code>${escapeHtml(name)}</code></a> ${escapeHtml(title)}</li>`,
  );
  return htmlPage(folder === "rels" ? "Link relations" : "Problems", `<ul>${items.join("")}</ul>`);
}

function htmlPage(title: string, body: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title></head><body><h1>${escapeHtml(title)}</h1>${body}</body></html>\n`;
}

function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
