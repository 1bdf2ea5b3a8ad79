// A log entry as one line for people: `14:03:07 job 8f3k… completed  transcode-video, attempt 1`.

/** Makes a function from a line of JSON to a line for a terminal; what is no JSON is passed on as it is. */
export function lineFormatter(color: boolean): (json: string) => string {
  const paint = (code: number, text: string) => (color ? `\u001b[${code}m${text}\u001b[0m` : text);
  return (json) => {
    let entry: Record<string, unknown>;
    try {
      entry = JSON.parse(json) as Record<string, unknown>;
    } catch {
      return json;
    }
    const { level, time, msg, err, error, ...fields } = entry;
    const label = String(level);
    const shown = label === "info" ? "" : `${paint(COLORS[label] ?? 0, label)} `;
    const said = `${paint(2, clock(String(time)))} ${shown}${sentence(fields, msg, paint)}`;
    return `${said}${explain(err ?? error, paint)}\n`;
  };
}

type Paint = (code: number, text: string) => string;

const COLORS: Readonly<Record<string, number>> = { trace: 2, debug: 2, warn: 33, error: 31, fatal: 31 };
const EVENT_COLORS: Readonly<Record<string, number>> = {
  completed: 32,
  failed: 31,
  retrying: 33,
  canceled: 33,
};

/** The local time of day, which is what a person at a terminal compares with. */
function clock(time: string): string {
  const date = new Date(time);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

function sentence(fields: Record<string, unknown>, msg: unknown, paint: Paint): string {
  const { event, job, operation, owner, status: _, attempt, seq: __, ...others } = fields;
  const rest = Object.entries(others).map(([name, value]) => `${name}=${plain(value)}`);
  if (typeof event !== "string" || typeof job !== "string") {
    const about = Object.entries({ job, operation, attempt }).filter(([, value]) => value !== undefined);
    const pairs = [...about.map(([name, value]) => `${name}=${plain(value)}`), ...rest];
    return [printable(String(msg ?? "")), paint(2, pairs.join(" "))].filter((part) => part !== "").join("  ");
  }
  const facts = [printable(String(operation)), ...(attempt === 0 ? [] : [`attempt ${plain(attempt)}`])];
  if (owner !== "local") facts.push(`for ${printable(String(owner))}`);
  const said = paint(EVENT_COLORS[event] ?? 0, printable(String(msg)));
  return `job ${printable(job)} ${said}  ${paint(2, [...facts, ...rest].join(", "))}`;
}

function explain(error: unknown, paint: Paint): string {
  if (typeof error !== "object" || error === null) return "";
  const { message, stack } = error as { readonly message?: string; readonly stack?: string };
  const text = stack ?? message ?? "";
  return text === "" ? "" : `\n${paint(2, text.split("\n").map(printable).join("\n"))}`;
}

function plain(value: unknown): string {
  return typeof value === "string" ? printable(value) : (JSON.stringify(value) ?? "");
}

/** Control characters could repaint the terminal, or forge a line. */
function printable(text: string): string {
  return text.replaceAll(
    /\p{Cc}/gu,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
