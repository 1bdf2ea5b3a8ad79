// Whether what a command printed is what a page shows.
//
// A page is laid out for people, so white space counts for nothing, `…` stands for anything, and what differs from run to
// run (ids, keys, times, counters of time) only has to be of its kind. Ids and keys are remembered: where a page uses
// one in a later command, the one that was really given takes its place.

/** What a page writes → what it was in this run. */
export type Words = Map<string, string>;

/** Compares, and learns the words where it fits. */
export function fits(shown: string, printed: string, words: Words): boolean {
  const names: string[] = [];
  const pattern = bare(shown)
    .split("…")
    .map((part) => patternOf(part, names, words))
    .join("[^]*?");
  const match = new RegExp(`^${pattern}$`).exec(bare(printed));
  if (match === null) return false;
  for (const [index, name] of names.entries()) words.set(name, match[index + 1] as string);
  return true;
}

/** A command with the words of this run. */
export function inWordsOfNow(command: string, words: Words): string {
  return command.replaceAll(WORD, (word) => words.get(word) ?? word);
}

const ID = "[0-9a-hjkmnp-tv-z]{26}";
const KEY = "ck_[\\w-]{51}";
const WORD = new RegExp(`\\b(?:${KEY}|${ID})(?![\\w-])`, "g");

/** What may differ: how a page has it, and what it may be. `bare` has taken the spaces out. */
const KINDS: readonly (readonly [shown: string, real: string])[] = [
  ["\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z", "\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z"],
  ["(?<=date:)\\w{3},\\d\\d\\w{3}\\d{4}[\\d:]{8}GMT", "\\w{3},\\d\\d\\w{3}\\d{4}[\\d:]{8}GMT"],
  ["(?<=retry-after:)\\d+", "\\d+"],
  ["(?<=content-length:)\\d+", "\\d+"],
  ['(?<=etag:(?:W/)?")\\d[\\da-z-]*', "[\\w-]+"],
  ['(?<="progress":)[\\d.]+', "[\\d.]+"],
  ["(?<=;r=)\\d+", "\\d+"],
  ["(?<=;t=)\\d+", "\\d+"],
  ["\\b[0-9a-f]{64}\\b", "[0-9a-f]{64}"],
];

const TOKEN = new RegExp(
  [`(?<word>${KEY}|(?<![\\w-])${ID}(?![\\w-]))`, ...KINDS.map(([shown], kind) => `(?<k${kind}>${shown})`)].join("|"),
  "gi",
);

function patternOf(part: string, names: string[], words: Words): string {
  let pattern = "";
  let at = 0;
  for (const match of part.matchAll(TOKEN)) {
    pattern += escaped(part.slice(at, match.index));
    at = match.index + match[0].length;
    const { word } = match.groups as { word?: string };
    if (word === undefined) {
      const kind = KINDS.findIndex((_, index) => match.groups?.[`k${index}`] !== undefined);
      pattern += (KINDS[kind] as readonly [string, string])[1];
    } else if (words.has(word)) pattern += escaped(words.get(word) as string);
    else if (names.includes(word)) pattern += `\\${names.indexOf(word) + 1}`;
    else {
      names.push(word);
      pattern += word.startsWith("ck_") ? `(${KEY})` : `(${ID})`;
    }
  }
  return pattern + escaped(part.slice(at));
}

function bare(text: string): string {
  return text.replaceAll(/\s+/g, "");
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
