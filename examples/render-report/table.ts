// Draws a table over as many pages as it takes, with its head on each of them.

import { type Box, INK, MUTED, NEUTRAL, RULE } from "./plot.ts";

export interface Table {
  readonly title: string;
  readonly note: string;
  /** The first is text and stands left, the others are numbers and stand right. */
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const ROW_POINTS = 16.5;
const FIRST_SHARE = 0.22;

/** Begins on a new page; `turn` adds one. */
export async function drawTable(
  doc: PDFKit.PDFDocument,
  box: Box,
  turn: () => Promise<void>,
  table: Table,
): Promise<void> {
  let top = Number.POSITIVE_INFINITY;
  let first = true;
  for (const row of table.rows) {
    if (top + ROW_POINTS > box.top + box.height) {
      await turn();
      top = drawHead(doc, box, first ? table : { ...table, title: `${table.title}, continued`, note: "" });
      first = false;
    }
    doc.font("Helvetica").fontSize(9).fillColor(INK);
    drawCells(doc, box, top + 5, row);
    top += ROW_POINTS;
    drawRule(doc, box, top, 0.4, RULE);
  }
}

function drawHead(doc: PDFKit.PDFDocument, box: Box, table: Table): number {
  doc.font("Helvetica-Bold").fontSize(11).fillColor(INK);
  doc.text(table.title, box.left, box.top, { lineBreak: false });
  doc.font("Helvetica").fontSize(8).fillColor(MUTED);
  doc.text(table.note, box.left, box.top + 14, { lineBreak: false });
  doc.font("Helvetica-Bold").fontSize(8.5).fillColor(MUTED);
  drawCells(doc, box, box.top + 34, table.columns);
  drawRule(doc, box, box.top + 48, 0.8, NEUTRAL);
  return box.top + 48;
}

function drawCells(doc: PDFKit.PDFDocument, box: Box, top: number, cells: readonly string[]): void {
  const width = (box.width * (1 - FIRST_SHARE)) / (cells.length - 1);
  cells.forEach((text, index) => {
    const right = box.left + box.width * FIRST_SHARE + index * width;
    const left = index === 0 ? box.left : right - doc.widthOfString(text);
    doc.text(text, left, top, { lineBreak: false });
  });
}

function drawRule(doc: PDFKit.PDFDocument, box: Box, top: number, points: number, colour: string): void {
  doc.moveTo(box.left, top).lineTo(box.left + box.width, top);
  doc.lineWidth(points).strokeColor(colour).stroke();
}
