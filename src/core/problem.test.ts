import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { PROBLEMS, type ProblemName, problem, publishProblem } from "./problem.ts";

const DOC = fileURLToPath(new URL("../../docs/reference/problems.md", import.meta.url));
const BASE = "https://api.example.test";

describe("the catalogue", () => {
  test("it is the one that docs/reference/problems.md prints", () => {
    const printed = print();
    if (process.env.UPDATE_DOCS === "1") writeFileSync(DOC, printed);
    expect(readFileSync(DOC, "utf8")).toBe(printed);
  });

  test("docs/reference/problems.md has every problem, and no other", () => {
    const sections = [...readFileSync(DOC, "utf8").matchAll(/^### `(.+)` · (.+)$/gm)];
    expect(sections.map(([, name, status]) => [name, Number(status)])).toEqual(
      Object.entries(PROBLEMS).map(([name, { status }]) => [name, status]),
    );
  });

  test("every problem is an error by its status, with a name fit for a URL and whole sentences of help", () => {
    for (const [name, { status, title, help }] of Object.entries(PROBLEMS)) {
      expect(name).toMatch(/^[a-z]+(?:-[a-z]+)*$/);
      expect(status, name).toBeGreaterThanOrEqual(400);
      expect(status, name).toBeLessThanOrEqual(599);
      expect(title, name).toMatch(/^[A-Z].*[^.]$/);
      expect(help, name).toMatch(/^[A-Z`].*\.$/);
    }
  });
});

describe("a problem document", () => {
  test("it has a detail only where one is given, and extensions beside it", () => {
    expect(problem("not-found")).toEqual({ type: "not-found", title: "There is nothing here", status: 404 });
    expect(problem("invalid-query", "limit is a number.", { errors: [] })).toEqual({
      type: "invalid-query",
      title: "A query parameter is not valid",
      status: 400,
      detail: "limit is a number.",
      errors: [],
    });
  });

  test("it goes out with the URL of its page as its type", () => {
    expect(publishProblem(problem("gone"), BASE).type).toBe(`${BASE}/problems/gone`);
  });

  test("a handler's own short name goes out as its code, as only the catalogue's names have a page", () => {
    expect(publishProblem({ ...problem("attempt-failed"), type: "no-lens" }, BASE)).toMatchObject({
      type: `${BASE}/problems/attempt-failed`,
      code: "no-lens",
    });
  });

  test("a type that is a URL already stays as the handler gave it", () => {
    const own = { ...problem("attempt-failed"), type: "https://errors.example.test/no-lens" };
    expect(publishProblem(own, BASE)).toBe(own);
  });
});

/** The first of those that end a job; all before it are refusals. */
const FIRST_OUTCOME: ProblemName = "attempt-failed";

function print(): string {
  const head = `# Problems

Everything that goes wrong is answered as \`application/problem+json\` (RFC 9457), also what the HTTP parser refuses by itself.

\`\`\`json
{
  "type": "http://127.0.0.1:2020/problems/invalid-input",
  "title": "The input is not what the operation takes",
  "status": 422,
  "errors": [{ "detail": "Too big: expected number to be <=3600", "pointer": "/seconds" }]
}
\`\`\`

- \`type\` is a URL of the server that answered, and a page that explains the problem. Programs compare its last segment.
- \`status\` is the response's own. \`detail\`, where there is one, is a sentence for people.
- No problem repeats what was sent, shows a stack, or tells whether another owner's job exists.
- 429 and 503 always come with \`Retry-After\`, 405 with \`Allow\`, 401 and 403 with \`WWW-Authenticate\`.

\`PROBLEMS\` of the package has the same catalogue as data. This page is printed and checked by \`src/core/problem.test.ts\`
(\`UPDATE_DOCS=1 npx vitest run src/core/problem.test.ts\` prints it anew).

## Refusals

`;
  const why = `## Why a job failed

These stand in the \`error\` of a failed job, and are what its result URL answers. Handlers add their own with
[\`Failure\`](../guides/handlers.md#how-it-ends): a type that is a URL goes out as it is; a short name goes out as the member
\`code\` of an \`attempt-failed\`.

`;
  const sections = Object.entries(PROBLEMS).map(
    ([name, { status, title, help }]) =>
      `${name === FIRST_OUTCOME ? why : ""}### \`${name}\` · ${status}\n\n**${title}.** ${help}\n`,
  );
  return head + sections.join("\n");
}
