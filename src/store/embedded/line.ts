// A line of waiting rows, ordered by turn and then row, that knows everyone's exact place.
//
// A million entries lie in sorted chunks of typed arrays: 12 bytes each, and insert, remove, first and rank touch one
// chunk and the list of chunks, a few microseconds at a million.

const CHUNK = 1024;

// Many lines are short: the first chunk of each begins small and grows.
const FIRST_CHUNK = 16;

interface Chunk {
  turns: Float64Array;
  rows: Uint32Array;
  /** The entries are those from `start` to `end`: taking the first only moves `start`. */
  start: number;
  end: number;
}

export class Line {
  #chunks: Chunk[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The row whose turn is next. */
  first(): { readonly turn: number; readonly row: number } | null {
    const chunk = this.#chunks[0];
    if (chunk === undefined) return null;
    return { turn: chunk.turns[chunk.start] as number, row: chunk.rows[chunk.start] as number };
  }

  has(turn: number, row: number): boolean {
    const chunk = this.#chunks[this.#chunkOf(turn, row)];
    if (chunk === undefined) return false;
    const at = find(chunk, turn, row);
    return at < chunk.end && chunk.turns[at] === turn && chunk.rows[at] === row;
  }

  /** Adds a row that does not stand there yet; one that does is left alone. */
  add(turn: number, row: number): void {
    const last = this.#chunks.at(-1);
    // Most arrive at the end; filling chunks there keeps them full.
    if (last === undefined || (last.end === CHUNK && isAfter(turn, row, last, last.end - 1))) {
      const fresh = emptyChunk(last === undefined ? FIRST_CHUNK : CHUNK);
      fresh.turns[0] = turn;
      fresh.rows[0] = row;
      fresh.end = 1;
      this.#chunks.push(fresh);
      this.#length++;
      return;
    }
    const index = Math.min(this.#chunkOf(turn, row), this.#chunks.length - 1);
    let chunk = this.#chunks[index] as Chunk;
    const stands = find(chunk, turn, row);
    if (stands < chunk.end && chunk.turns[stands] === turn && chunk.rows[stands] === row) return;
    this.#length++;
    if (chunk.end === chunk.rows.length) {
      if (chunk.start > 0) compact(chunk);
      else if (chunk.end < CHUNK) grow(chunk);
      else {
        const right = split(chunk);
        this.#chunks.splice(index + 1, 0, right);
        if (!isBefore(turn, row, right, right.start)) chunk = right;
      }
    }
    const at = find(chunk, turn, row);
    chunk.turns.copyWithin(at + 1, at, chunk.end);
    chunk.rows.copyWithin(at + 1, at, chunk.end);
    chunk.turns[at] = turn;
    chunk.rows[at] = row;
    chunk.end++;
  }

  /** Whether it stood there. */
  remove(turn: number, row: number): boolean {
    const index = this.#chunkOf(turn, row);
    const chunk = this.#chunks[index];
    if (chunk === undefined) return false;
    const at = find(chunk, turn, row);
    if (at >= chunk.end || chunk.turns[at] !== turn || chunk.rows[at] !== row) return false;
    this.#length--;
    if (at === chunk.start) chunk.start++;
    else {
      chunk.turns.copyWithin(at, at + 1, chunk.end);
      chunk.rows.copyWithin(at, at + 1, chunk.end);
      chunk.end--;
    }
    if (chunk.start === chunk.end) this.#chunks.splice(index, 1);
    return true;
  }

  /** How many stand before this turn. */
  rank(turn: number, row: number): number {
    const index = this.#chunkOf(turn, row);
    let before = 0;
    for (let i = 0; i < index; i++) {
      const chunk = this.#chunks[i] as Chunk;
      before += chunk.end - chunk.start;
    }
    const chunk = this.#chunks[index];
    return chunk === undefined ? before : before + find(chunk, turn, row) - chunk.start;
  }

  // The first chunk whose last entry is not before the one sought; the number of chunks if there is none.
  #chunkOf(turn: number, row: number): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const chunk = this.#chunks[middle] as Chunk;
      const end = chunk.end - 1;
      const lastTurn = chunk.turns[end] as number;
      if (lastTurn < turn || (lastTurn === turn && (chunk.rows[end] as number) < row)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function emptyChunk(entries: number): Chunk {
  return { turns: new Float64Array(entries), rows: new Uint32Array(entries), start: 0, end: 0 };
}

function grow(chunk: Chunk): void {
  const { turns, rows } = emptyChunk(chunk.rows.length * 4);
  turns.set(chunk.turns);
  rows.set(chunk.rows);
  chunk.turns = turns;
  chunk.rows = rows;
}

function isAfter(turn: number, row: number, chunk: Chunk, at: number): boolean {
  const other = chunk.turns[at] as number;
  return turn > other || (turn === other && row > (chunk.rows[at] as number));
}

function isBefore(turn: number, row: number, chunk: Chunk, at: number): boolean {
  const other = chunk.turns[at] as number;
  return turn < other || (turn === other && row < (chunk.rows[at] as number));
}

// Where it stands in the chunk, or would.
function find(chunk: Chunk, turn: number, row: number): number {
  let low = chunk.start;
  let high = chunk.end;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const other = chunk.turns[middle] as number;
    if (other < turn || (other === turn && (chunk.rows[middle] as number) < row)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function compact(chunk: Chunk): void {
  chunk.turns.copyWithin(0, chunk.start, chunk.end);
  chunk.rows.copyWithin(0, chunk.start, chunk.end);
  chunk.end -= chunk.start;
  chunk.start = 0;
}

function split(chunk: Chunk): Chunk {
  const half = CHUNK >>> 1;
  const right = emptyChunk(CHUNK);
  right.turns.set(chunk.turns.subarray(half, chunk.end));
  right.rows.set(chunk.rows.subarray(half, chunk.end));
  right.end = chunk.end - half;
  chunk.end = half;
  return right;
}
