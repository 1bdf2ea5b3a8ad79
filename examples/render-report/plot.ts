// Draws a plot with axes into a PDF: bars, a line, or both, as vectors.

/** A tick of an axis. */
export interface Tick {
  readonly at: number;
  readonly label: string;
}

export interface Axis {
  readonly min: number;
  readonly max: number;
  readonly ticks: readonly Tick[];
}

export interface Bar {
  readonly from: number;
  readonly to: number;
  readonly value: number;
  /** In the accent colour; else grey. */
  readonly accent: boolean;
}

export interface Plot {
  readonly title: string;
  /** A smaller line below the title: what the axes measure. */
  readonly note: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly bars?: readonly Bar[];
  readonly line?: readonly Point[];
}

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Whether the line begins anew here. */
  readonly afresh: boolean;
}

export interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export const INK = "#1f2933";
export const MUTED = "#6b7680";
export const RULE = "#dfe3e6";
export const NEUTRAL = "#b9c2c9";
export const ACCENT = "#0b6e8f";

const TICK_POINTS = 7.5;
const HEAD_POINTS = 34;
const FOOT_POINTS = 16;
const Y_LABEL_POINTS = 38;
// Up to here each point of a line gets a dot; beyond, dots would cover the line.
const MAX_DOTS = 45;

export function drawPlot(doc: PDFKit.PDFDocument, box: Box, plot: Plot): void {
  doc.font("Helvetica-Bold").fontSize(11).fillColor(INK);
  doc.text(plot.title, box.left, box.top, { lineBreak: false });
  doc.font("Helvetica").fontSize(8).fillColor(MUTED);
  doc.text(plot.note, box.left, box.top + 14, { lineBreak: false });
  const area: Box = {
    left: box.left + Y_LABEL_POINTS,
    top: box.top + HEAD_POINTS,
    width: box.width - Y_LABEL_POINTS,
    height: box.height - HEAD_POINTS - FOOT_POINTS,
  };
  const { x, y } = plot;
  const toX = (value: number) => area.left + ((value - x.min) / (x.max - x.min)) * area.width;
  const toY = (value: number) => area.top + area.height - ((value - y.min) / (y.max - y.min)) * area.height;
  drawGrid(doc, area, y, toY);
  for (const bar of plot.bars ?? []) drawBar(doc, bar, toX, toY);
  drawLine(doc, plot.line ?? [], toX, toY);
  drawBase(doc, area, x, toX, toY(Math.max(0, y.min)));
}

function drawGrid(doc: PDFKit.PDFDocument, area: Box, y: Axis, toY: (value: number) => number): void {
  doc.font("Helvetica").fontSize(TICK_POINTS).fillColor(MUTED);
  for (const { at, label } of y.ticks) {
    const top = toY(at);
    doc.moveTo(area.left, top).lineTo(area.left + area.width, top);
    doc.lineWidth(0.5).strokeColor(RULE).stroke();
    const left = area.left - 6 - doc.widthOfString(label);
    doc.text(label, left, top - TICK_POINTS / 2, { lineBreak: false });
  }
}

function drawBar(
  doc: PDFKit.PDFDocument,
  { from, to, value, accent }: Bar,
  toX: (value: number) => number,
  toY: (value: number) => number,
): void {
  const width = toX(to) - toX(from);
  // A narrow gap tells bars apart; where they are many it would leave nothing of them.
  const gap = Math.min(2, width * 0.18);
  const [top, foot] = [toY(Math.max(0, value)), toY(Math.min(0, value))];
  doc.rect(toX(from) + gap / 2, top, width - gap, foot - top).fill(accent ? ACCENT : NEUTRAL);
}

function drawLine(
  doc: PDFKit.PDFDocument,
  points: readonly Point[],
  toX: (value: number) => number,
  toY: (value: number) => number,
): void {
  points.forEach(({ x, y, afresh }, index) => {
    if (index === 0 || afresh) doc.moveTo(toX(x), toY(y));
    else doc.lineTo(toX(x), toY(y));
  });
  if (points.length > 1) doc.lineWidth(1.3).lineJoin("round").strokeColor(ACCENT).stroke();
  if (points.length > MAX_DOTS) return;
  for (const { x, y } of points) doc.circle(toX(x), toY(y), 2).fill(ACCENT);
}

function drawBase(
  doc: PDFKit.PDFDocument,
  area: Box,
  x: Axis,
  toX: (value: number) => number,
  zero: number,
): void {
  const right = area.left + area.width;
  const foot = area.top + area.height;
  doc.lineWidth(0.8).strokeColor(MUTED);
  doc.moveTo(area.left, zero).lineTo(right, zero).stroke();
  doc.font("Helvetica").fontSize(TICK_POINTS).fillColor(MUTED);
  let free = Number.NEGATIVE_INFINITY;
  for (const { at, label } of x.ticks) {
    const centre = toX(at);
    doc
      .moveTo(centre, foot)
      .lineTo(centre, foot + 3)
      .stroke();
    const width = doc.widthOfString(label);
    // A label that would run into its neighbour, or out of the plot on its right, gives way to it.
    const left = Math.min(centre - width / 2, right - width);
    if (left < free) continue;
    doc.text(label, left, foot + 6, { lineBreak: false });
    free = left + width + 6;
  }
}
