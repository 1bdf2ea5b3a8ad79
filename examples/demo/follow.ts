// Follows one job of the demo: polls as the server asks, draws its row, and goes where the 303 leads.

import { setTimeout as sleep } from "node:timers/promises";
import { type Answer, type Ask, send } from "./exchange.ts";
import type { Screen } from "./screen.ts";

/** What the demo reads of the status document. */
export interface Status {
  readonly status: "queued" | "processing" | "completed" | "failed" | "canceled";
  readonly progress: number | null;
  readonly message: string | null;
  readonly position: number | null;
  readonly waitingFor: string | null;
  readonly estimatedCompletion: string | null;
  readonly resultUrl: string;
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly url: string }[];
  readonly error: { readonly title: string; readonly detail?: string } | null;
}

export interface Followed {
  readonly ask: Ask;
  /** A 303 where the job completed; then `status` is what it was sent with. */
  readonly answer: Answer;
  readonly status: Status;
  readonly polls: number;
  readonly tookMs: number;
}

/** A job that was accepted: the monitor's URL, and what the 202 said. */
export interface Ticket {
  readonly label: string;
  readonly monitor: string;
  readonly status: Status;
  readonly retryAfterSeconds: number;
}

/** Polls a job until it settles. `onWorking` is called with the first poll that finds it at work. */
export async function follow(
  screen: Screen,
  ticket: Ticket,
  onWorking?: (ask: Ask, answer: Answer, status: Status) => void,
): Promise<Followed> {
  const { label } = ticket;
  const began = Date.now();
  const ask: Ask = { method: "GET", url: ticket.monitor };
  let seen: Seen = { status: ticket.status, at: began };
  let { retryAfterSeconds } = ticket;
  let isShown = false;
  let told = "";
  const row = screen.row((columns) => drawRow(screen, label, seen, columns));
  const tell = () => {
    const line = describe(seen.status);
    // Without a terminal a line for every quarter of the way is enough.
    const turn = `${seen.status.status} ${Math.floor((seen.status.progress ?? 0) / 25)} ${seen.status.position}`;
    if (turn !== told) row.tell(`  ${label}: ${line}`);
    told = turn;
  };
  tell();
  try {
    for (let polls = 1; ; polls++) {
      // The server knows best when it is worth asking again.
      await sleep(retryAfterSeconds * 1000);
      const answer = await send(ask);
      const status = (await answer.response.json()) as Status;
      seen = { status, at: Date.now() };
      if (answer.status !== 200 || status.status === "failed" || status.status === "canceled") {
        return { ask, answer, status, polls, tookMs: seen.at - began };
      }
      tell();
      if (status.status === "processing" && !isShown) {
        onWorking?.(ask, answer, status);
        isShown = true;
      }
      retryAfterSeconds = Number(answer.headers.get("retry-after"));
    }
  } finally {
    row.remove();
  }
}

interface Seen {
  readonly status: Status;
  /** When it was answered. */
  readonly at: number;
}

const LABEL_COLUMNS = 17;
const BAR_COLUMNS = 24;

/** A row such as `transcode-video   ━━━━━━━━────────  43 %  6 s left  Transcoding video…`. */
function drawRow({ bold, dim, cyan, green }: Screen, label: string, seen: Seen, columns: number): string {
  const { status } = seen;
  const head = `  ${bold(label.padEnd(LABEL_COLUMNS))} `;
  const room = columns - LABEL_COLUMNS - BAR_COLUMNS - 4;
  if (status.status === "queued") {
    return `${head}${dim("─".repeat(BAR_COLUMNS))} ${fitting(describe(status), room)}`;
  }
  const share = carriedOn(seen);
  const filled = Math.floor(share * BAR_COLUMNS);
  const bar = `${(share === 1 ? green : cyan)("━".repeat(filled))}${dim("─".repeat(BAR_COLUMNS - filled))}`;
  return `${head}${bar} ${fitting(describe(status), room)}`;
}

/** Between two answers the bar goes on as the server's estimate says; the words beside it are the last answer's. */
function carriedOn({ status, at }: Seen): number {
  const share = (status.progress ?? 0) / 100;
  const endsAt = Date.parse(status.estimatedCompletion ?? "");
  if (Number.isNaN(endsAt) || endsAt <= at) return share;
  const gone = Math.min(1, (Date.now() - at) / (endsAt - at));
  return Math.min(0.98, share + (1 - share) * gone);
}

/** Such as ` 43 %  6 s left  Transcoding video…`, or `number 2 in line, 9 s left`. */
function describe({ status, progress, message, position, waitingFor, estimatedCompletion }: Status): string {
  const left = leftUntil(estimatedCompletion);
  if (status === "queued") {
    return `${position === null ? `queued (${waitingFor})` : `number ${position} in line`}, ${left}`;
  }
  const percent = progress === null ? "" : `${String(Math.floor(progress)).padStart(3)} %  `;
  return `${percent}${left}  ${message ?? ""}`.trimEnd();
}

function leftUntil(estimatedCompletion: string | null): string {
  const seconds = Math.ceil((Date.parse(estimatedCompletion ?? "") - Date.now()) / 1000);
  return seconds >= 1 ? `${seconds} s left` : "any moment";
}

function fitting(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(0, columns - 1))}…`;
}
