// The pages for readers: their fences, headings and links.

import { readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export interface Fence {
  /** The first word after the backticks, such as `ts`. */
  readonly language: string;
  readonly text: string;
  /** Its first line's number in the page. */
  readonly line: number;
}

export interface Page {
  /** From the root of the repository, such as `docs/start.md`. */
  readonly path: string;
  readonly text: string;
  readonly fences: readonly Fence[];
}

/** Every page: those of the root, of docs/ and of the examples. */
export function readPages(): readonly Page[] {
  const here = readdirSync(ROOT).filter((name) => name.endsWith(".md"));
  const below = ["docs", "examples"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".md") && !name.includes("node_modules"))
      .map((name) => posix.join(folder, name.replaceAll("\\", "/"))),
  );
  return [...here, ...below].sort().map((path) => {
    const text = readFileSync(join(ROOT, path), "utf8");
    return { path, text, fences: fencesOf(text) };
  });
}

/** The page without its fences. */
export function proseOf({ text, fences }: Page): string {
  const lines = text.split("\n");
  for (const { line, text: inside } of fences) lines.fill("", line - 1, line + inside.split("\n").length);
  return lines.join("\n");
}

/** The anchors that a page's headings have, as GitHub makes them. */
export function anchorsOf(page: Page): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const [, heading = ""] of proseOf(page).matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const plain = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const anchor = plain.replaceAll(/[^\p{L}\p{N}\p{M}\s_-]/gu, "").replaceAll(" ", "-");
    for (let count = 0; ; count++) {
      const name = count === 0 ? anchor : `${anchor}-${count}`;
      if (anchors.has(name)) continue;
      anchors.add(name);
      break;
    }
  }
  return anchors;
}

/** Where a page's links and pictures lead, as it writes them. */
export function linksOf(page: Page): readonly string[] {
  const prose = proseOf(page).replaceAll(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target as string);
}

function fencesOf(text: string): Fence[] {
  const fences: Fence[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at++) {
    const opened = /^```(.*)$/.exec(lines[at] as string);
    if (opened === null) continue;
    const end = lines.indexOf("```", at + 1);
    if (end === -1) throw new Error(`The fence of line ${at + 1} has no end.`);
    const [language = ""] = (opened[1] as string).trim().split(/\s+/);
    fences.push({ language, text: lines.slice(at + 1, end).join("\n"), line: at + 1 });
    at = end;
  }
  return fences;
}
