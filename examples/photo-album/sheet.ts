// A contact sheet: all pictures of an album small, with their names, on pages of a hundred.

import { join } from "node:path";
import { image, type Pixels, shrink } from "./thumbnail.ts";

export interface Page {
  readonly path: string;
  readonly name: string;
}

const COLUMNS = 10;
const ROWS = 10;
const CELL = 180;
const GAP = 14;
const CAPTION = 24;
const HEADER = 64;
const CAPTION_CHARACTERS = 24;

/** Takes pictures one by one and holds no more than the page that it fills: about 25 MB. */
export class ContactSheet {
  readonly #folder: string;
  readonly #title: string;
  readonly #columns: number;
  readonly #pages: string[] = [];
  #cells: { readonly pixels: Pixels; readonly caption: string }[] = [];

  /** `expected`: how many pictures may come; a few make a page that is not mostly empty. */
  constructor(options: { folder: string; title: string; expected: number }) {
    this.#folder = options.folder;
    this.#title = options.title;
    this.#columns = Math.max(4, Math.min(COLUMNS, Math.ceil(Math.sqrt(options.expected))));
  }

  async add(pixels: Pixels, caption: string): Promise<void> {
    this.#cells.push({ pixels: await shrink(pixels, CELL), caption });
    if (this.#cells.length === this.#columns * ROWS) await this.#flush();
  }

  /** Writes the last page and gives all of them. */
  async finish(): Promise<Page[]> {
    if (this.#cells.length > 0) await this.#flush();
    const digits = String(this.#pages.length).length;
    return this.#pages.map((path, index) => ({
      path,
      name:
        this.#pages.length === 1
          ? "contact-sheet.jpg"
          : `contact-sheet-${String(index + 1).padStart(digits, "0")}.jpg`,
    }));
  }

  async #flush(): Promise<void> {
    const cells = this.#cells;
    this.#cells = [];
    const width = GAP + this.#columns * (CELL + GAP);
    const height = HEADER + Math.ceil(cells.length / this.#columns) * (CELL + CAPTION + GAP);
    const page: Pixels = { data: Buffer.alloc(width * height * 3, 0xff), width, height };
    const texts = [
      text(
        GAP,
        42,
        26,
        "start",
        `${this.#title}${this.#pages.length === 0 ? "" : `, page ${this.#pages.length + 1}`}`,
      ),
    ];
    for (const [index, { pixels, caption }] of cells.entries()) {
      const left = GAP + (index % this.#columns) * (CELL + GAP);
      const top = HEADER + Math.floor(index / this.#columns) * (CELL + CAPTION + GAP);
      // In the middle of its cell, on the caption's side.
      paste(pixels, page, left + Math.floor((CELL - pixels.width) / 2), top + CELL - pixels.height);
      texts.push(text(left + CELL / 2, top + CELL + 17, 13, "middle", shortened(caption)));
    }
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${texts.join("")}</svg>`;
    const path = join(this.#folder, `page-${this.#pages.length + 1}.jpg`);
    await image(page)
      .composite([{ input: Buffer.from(svg) }])
      .jpeg({ quality: 85 })
      .toFile(path);
    this.#pages.push(path);
  }
}

function paste(from: Pixels, onto: Pixels, left: number, top: number): void {
  for (let row = 0; row < from.height; row++) {
    const start = row * from.width * 3;
    from.data.copy(onto.data, ((top + row) * onto.width + left) * 3, start, start + from.width * 3);
  }
}

// Without any font on the machine the sheet has no captions; nothing else depends on them.
function text(x: number, y: number, size: number, anchor: "start" | "middle", words: string): string {
  return `<text x="${x}" y="${y}" font-size="${size}" text-anchor="${anchor}" font-family="sans-serif" fill="#333">${escaped(words)}</text>`;
}

// XML 1.0 §2.2: most control characters and lone surrogates can't be written at all.
function escaped(words: string): string {
  return words
    .replace(/[\p{Cc}\p{Cs}\ufffe\uffff]/gu, "\ufffd")
    .replace(/[<>&"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

// The end stays: it has the number that tells pictures of one camera apart.
function shortened(caption: string): string {
  const signs = [...caption];
  if (signs.length <= CAPTION_CHARACTERS) return caption;
  return `${signs.slice(0, 8).join("")}…${signs.slice(9 - CAPTION_CHARACTERS).join("")}`;
}
