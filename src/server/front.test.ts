import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { VERSION } from "../version.ts";
import { loadConfig } from "./config.ts";
import { wantsHtml } from "./front.ts";
import { type RunningServer, startServer } from "./server.ts";

const CORE = new URL("../core/operation.ts", import.meta.url).href;

let directory: string;
let server: RunningServer;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "coatcheck-front-"));
  await writeFile(
    join(directory, "coatcheck.config.mjs"),
    `import { defineOperation } from ${JSON.stringify(CORE)};
    const echo = defineOperation({ name: "echo", title: "Echo <b>&\\"" });
    export default { operations: [{ operation: echo }], port: 0, store: "memory:", log: { level: "fatal" } };`,
  );
  server = await startServer(await loadConfig({ directory, environment: {} }));
});
afterAll(async () => {
  await server.close();
  await rm(directory, { recursive: true });
});

describe("GET /", () => {
  it("tells programs which server this is, and where its parts are, all of which are there", async () => {
    const answer = await fetch(`${server.url}/`);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "application/json"]);
    expect(answer.headers.get("vary")).toBe("Accept");
    const index = (await answer.json()) as { readonly links: Readonly<Record<string, string>> };
    expect(index).toEqual({
      name: "coatcheck",
      version: VERSION,
      operations: [{ name: "echo", title: 'Echo <b>&"', url: `${server.url}/operations/echo` }],
      links: expect.any(Object),
    });
    for (const url of Object.values(index.links)) expect((await fetch(url)).status, url).toBe(200);
  });

  it("is a page for browsers, without scripts, with every text inert", async () => {
    const headers = { accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8" };
    const answer = await fetch(`${server.url}/`, { headers });
    expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(answer.headers.get("content-security-policy")).toMatch(/^default-src 'none';/);
    expect(answer.headers.get("vary")).toBe("Accept");
    const page = await answer.text();
    expect(page).toContain(`<a href="${server.url}/openapi.json">`);
    expect(page).toContain("Echo &lt;b&gt;&amp;&quot;");
    expect(page).not.toMatch(/<(?:script|style|b)\b|\bon\w+=/);
  });

  it("answers HEAD, and 405 with what it takes to everything else", async () => {
    expect((await fetch(`${server.url}/`, { method: "HEAD" })).status).toBe(200);
    const refused = await fetch(`${server.url}/`, { method: "POST", body: "{}" });
    expect([refused.status, refused.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });
});

it.each([
  [undefined, false],
  ["", false],
  ["*/*", false],
  ["application/json", false],
  ["text/html", true],
  ["TEXT/HTML", true],
  ["text/*", true],
  ["text/html;q=0.5, application/json", false],
  ["text/html; q=0.9, */*;q=0.1", true],
  ["text/html;q=0, */*", false],
  ["application/json;q=0.2, text/html;q=0.3", true],
])("Accept %j wants HTML: %j", (accept, html) => {
  expect(wantsHtml(accept)).toBe(html);
});
