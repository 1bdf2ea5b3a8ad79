// What `GET /` of the standalone server answers: which server this is and where its parts are, for programs and for people.

import type { FastifyInstance } from "fastify";
import type { Operation } from "../core/operation.ts";
import { addMethodGuard } from "../http/problems.ts";

type Speaker = Parameters<typeof addMethodGuard>[1];

/** Adds `GET /`: JSON, or a page for who asks for HTML. It needs no credentials and tells what the OpenAPI document tells. */
export function addFront(
  app: FastifyInstance,
  door: Speaker,
  server: { readonly version: string; readonly operations: readonly Operation[] },
): void {
  app.route({
    method: ["GET", "HEAD"],
    url: "/",
    handler: (request, reply) => {
      const index = indexOf(door.publicUrl(), server);
      reply.headers({ vary: "Accept", "cache-control": "no-cache", "x-content-type-options": "nosniff" });
      if (!wantsHtml(request.headers.accept)) {
        return reply
          .header("content-type", "application/json")
          .serializer(String)
          .send(JSON.stringify(index));
      }
      return reply
        .headers({
          "content-type": "text/html; charset=utf-8",
          "content-security-policy":
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
          "referrer-policy": "no-referrer",
        })
        .send(pageOf(index));
    },
  });
  addMethodGuard(app, door, "/", ["GET", "HEAD"]);
}

/** Whether HTML is wanted rather than JSON (RFC 9110 §12.5.1): where both are as welcome, it is JSON. */
export function wantsHtml(accept = ""): boolean {
  return weightOf(accept, ["text/html", "text/*"]) > weightOf(accept, ["application/json", "application/*"]);
}

// Of the ranges that fit, the most specific one counts.
function weightOf(accept: string, ranges: readonly string[]): number {
  const weights = new Map(
    accept.split(",").map((part): [string, number] => {
      const [range = "", ...parameters] = part.toLowerCase().split(";");
      const weight = parameters.map((each) => /^\s*q=(\d(?:\.\d{0,3})?)\s*$/.exec(each)?.[1]).find(Boolean);
      return [range.trim(), weight === undefined ? 1 : Number(weight)];
    }),
  );
  const fits = [...ranges, "*/*"].find((range) => weights.has(range));
  return fits === undefined ? 0 : (weights.get(fits) as number);
}

interface Index {
  readonly name: string;
  readonly version: string;
  readonly operations: readonly { readonly name: string; readonly title: string; readonly url: string }[];
  readonly links: Readonly<Record<string, string>>;
}

function indexOf(
  base: string,
  { version, operations }: { readonly version: string; readonly operations: readonly Operation[] },
): Index {
  return {
    name: "coatcheck",
    version,
    operations: operations.map(({ name, title, path }) => ({ name, title, url: base + path })),
    links: {
      openapi: `${base}/openapi.json`,
      jobs: `${base}/jobs`,
      problems: `${base}/problems`,
      live: `${base}/health/live`,
      ready: `${base}/health/ready`,
    },
  };
}

const MEANS: Readonly<Record<string, string>> = {
  openapi: "all that can be asked here, as an OpenAPI document",
  jobs: "your jobs",
  problems: "what can go wrong, and what to do then",
  live: "whether the server runs",
  ready: "whether it takes requests",
};

function pageOf({ version, operations, links }: Index): string {
  const submits = operations.map(
    ({ name, title, url }) =>
      `<li>${escapeHtml(title)}${title === name ? "" : ` (<code>${escapeHtml(name)}</code>)`}: <code>POST ${escapeHtml(url)}</code></li>`,
  );
  const places = Object.entries(links).map(
    ([name, url]) => `<li><a href="${escapeHtml(url)}">${escapeHtml(name)}</a>: ${MEANS[name]}</li>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Coatcheck</title>
</head>
<body>
<main>
<h1>Coatcheck ${escapeHtml(version)}</h1>
<p>You hand over slow work, you get a ticket, you come back when it is ready.</p>
<h2>Operations</h2>
<ul>
${submits.join("\n")}
</ul>
<h2>Places</h2>
<ul>
${places.join("\n")}
</ul>
</main>
</body>
</html>
`;
}

function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
