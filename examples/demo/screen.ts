// The demo's output: lines that stay, and below them one row for each job that is redrawn in place. Where the output is no
// terminal everything is a plain line, and of a row only its turns are told.

import type { WriteStream } from "node:tty";

/** Marks up text; without a terminal it gives the text as it is. */
export type Paint = (text: string) => string;

export interface Screen {
  readonly bold: Paint;
  readonly dim: Paint;
  readonly green: Paint;
  readonly red: Paint;
  readonly cyan: Paint;
  /** Adds lines that stay. */
  print(text?: string): void;
  /** Adds a row. `draw` is asked for its text whenever the rows are drawn; it may fill `columns`. */
  row(draw: (columns: number) => string): Row;
  /** Gives the terminal back as it was. */
  close(): void;
}

export interface Row {
  /** Says something about the row where rows are not drawn. */
  tell(line: string): void;
  remove(): void;
}

const FRAME_MS = 100;
const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";
// Up by so many lines, to the first column, and nothing below.
const back = (lines: number) => `\u001b[${lines}A\r\u001b[J`;

export function openScreen(out: WriteStream): Screen {
  const isLive = out.isTTY && process.env.TERM !== "dumb";
  const isColoured = isLive && (process.env.NO_COLOR ?? "") === "";
  const paint =
    (on: number, off: number): Paint =>
    (text) =>
      isColoured ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  const rows = new Set<(columns: number) => string>();
  let drawn = 0;
  let timer: NodeJS.Timeout | undefined;

  // One write for a frame, so that no half of it is ever seen.
  const draw = (above = "") => {
    const columns = Math.max(40, out.columns ?? 80);
    const lines = [...rows].map((row) => `${row(columns)}\n`);
    out.write((drawn > 0 ? back(drawn) : "") + above + lines.join(""));
    drawn = lines.length;
  };

  return {
    bold: paint(1, 22),
    dim: paint(2, 22),
    green: paint(32, 39),
    red: paint(31, 39),
    cyan: paint(36, 39),
    print(text = "") {
      if (isLive) draw(`${text}\n`);
      else out.write(`${text}\n`);
    },
    row(drawRow) {
      if (isLive) {
        rows.add(drawRow);
        if (timer === undefined) {
          out.write(HIDE_CURSOR);
          timer = setInterval(draw, FRAME_MS);
        }
        draw();
      }
      return {
        tell(line) {
          if (!isLive) out.write(`${line}\n`);
        },
        remove() {
          if (rows.delete(drawRow)) draw();
        },
      };
    },
    close() {
      if (timer === undefined) return;
      clearInterval(timer);
      timer = undefined;
      rows.clear();
      draw();
      out.write(SHOW_CURSOR);
    },
  };
}
