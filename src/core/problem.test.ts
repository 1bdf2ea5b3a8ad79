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
    const rows = [...readFileSync(DOC, "utf8").matchAll(/^\| `([a-z-]+)` \| (\d{3}) \|/gm)];
    expect(rows.map(([, name, status]) => [name, Number(status)])).toEqual(
      byStatus().map(([name, { status }]) => [name, status]),
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

  test("a type that is a URL already stays as the handler gave it", () => {
    const own = { ...problem("attempt-failed"), type: "https://errors.example.test/no-lens" };
    expect(publishProblem(own, BASE)).toBe(own);
  });
});

/** By status, within a status as the catalogue has them. */
function byStatus(): [ProblemName, (typeof PROBLEMS)[ProblemName]][] {
  const entries = Object.entries(PROBLEMS) as [ProblemName, (typeof PROBLEMS)[ProblemName]][];
  return entries.sort(([, a], [, b]) => a.status - b.status);
}

function print(): string {
  const head = `# Problems

Whatever is refused or goes wrong is answered with a problem document (RFC 9457), \`application/problem+json\`. Its \`type\` is
a URL of the server that sent it, \`<public URL>/problems/<name>\`; that page says what this table says. Programs compare the
last segment of \`type\`; \`title\` and \`detail\` are for people and may change. A document never repeats what was sent.

A handler's own \`Failure\` may have a type of its own. One that is a URL goes out as it is, any other as a name below
\`/problems\`, where it has no page.

This table is printed and checked by \`src/core/problem.test.ts\`
(\`UPDATE_DOCS=1 npx vitest run src/core/problem.test.ts\` prints it anew).

`;
  const rows = [
    ["name", "status", "title", "what it means, and what to do"],
    ["---", "---", "---", "---"],
    ...byStatus().map(([name, { status, title, help }]) => [`\`${name}\``, String(status), title, help]),
  ];
  return `${head}${rows.map((cells) => `| ${cells.join(" | ")} |`).join("\n")}\n`;
}
