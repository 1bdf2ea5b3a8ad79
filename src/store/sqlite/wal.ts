// Checks the write-ahead log before SQLite opens it: SQLite takes a damaged frame for the log's end and drops every
// commit behind it in silence, which would break the promise of those 202s.
//
// The format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log. A power cut may leave one commit torn at the
// end, which nobody was told of; two or more behind a broken frame were acknowledged.

import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { StoreUnusable } from "../store.ts";

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;

const LOOKS = 3;
const BETWEEN_LOOKS_MS = 150;

/** Throws `StoreUnusable` where acknowledged commits in the log can't be read any more. */
export function checkWal(file: string): void {
  const path = `${file}-wal`;
  // A log that another server writes to while it is read can look damaged. That server opened it whole, so a log that
  // changes under the look is none to refuse; one that is damaged lies still and looks the same each time.
  for (let look = 1; ; look++) {
    const before = stateOf(path);
    if (!isDamaged(path)) return;
    if (look === LOOKS && stateOf(path) === before) break;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BETWEEN_LOOKS_MS);
    if (stateOf(path) !== before) return;
  }
  throw new StoreUnusable(
    `The write-ahead log ${path} is damaged, and jobs that were accepted lie behind the damage. Restore ${file} and its log from a backup.`,
  );
}

function stateOf(path: string): string {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? "none" : `${stats.ino} ${stats.size} ${stats.mtimeNs}`;
}

function isDamaged(path: string): boolean {
  const handle = openIfThere(path);
  if (handle === null) return false;
  try {
    const size = fstatSync(handle).size;
    if (size < HEADER_BYTES) return false;
    const header = Buffer.alloc(HEADER_BYTES);
    readSync(handle, header, 0, HEADER_BYTES, 0);
    const magic = header.readUInt32BE(0);
    // The header is synced before the first frame is written: frames behind an empty one were there.
    if (magic !== 0x377f0682 && magic !== 0x377f0683) return !isEmpty(handle, size);
    const bigEndian = magic === 0x377f0683;
    let sums = checksum(header, 0, 24, 0, 0, bigEndian);
    if (sums[0] !== header.readUInt32BE(24) || sums[1] !== header.readUInt32BE(28)) return true;
    const pageBytes = header.readUInt32BE(8);
    const frame = Buffer.alloc(FRAME_HEADER_BYTES + pageBytes);
    let broken = false;
    let commitsBehind = 0;
    for (let at = HEADER_BYTES; at + frame.length <= size; at += frame.length) {
      readSync(handle, frame, 0, frame.length, at);
      // Other salts are of the log's last life: all that lies behind its present end.
      const isOfThisLife = frame.compare(header, 16, 24, 8, 16) === 0;
      broken ||= !isOfThisLife;
      if (!broken) {
        sums = checksum(frame, 0, 8, sums[0], sums[1], bigEndian);
        sums = checksum(frame, FRAME_HEADER_BYTES, frame.length, sums[0], sums[1], bigEndian);
        broken = sums[0] !== frame.readUInt32BE(16) || sums[1] !== frame.readUInt32BE(20);
      }
      const commitsPages = frame.readUInt32BE(4);
      if (broken && isOfThisLife && commitsPages !== 0 && ++commitsBehind > 1) return true;
    }
    return false;
  } finally {
    closeSync(handle);
  }
}

// Whoever closes the store last removes its log.
function openIfThere(path: string): number | null {
  try {
    return openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function isEmpty(handle: number, size: number): boolean {
  const bytes = Buffer.alloc(64 * 1024);
  for (let at = 0; at < size; at += bytes.length) {
    const read = readSync(handle, bytes, 0, bytes.length, at);
    if (bytes.subarray(0, read).some((byte) => byte !== 0)) return false;
  }
  return true;
}

function checksum(
  bytes: Buffer,
  from: number,
  to: number,
  first: number,
  second: number,
  bigEndian: boolean,
): readonly [number, number] {
  let s0 = first;
  let s1 = second;
  for (let at = from; at < to; at += 8) {
    const x0 = bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
    const x1 = bigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4);
    s0 = (s0 + x0 + s1) >>> 0;
    s1 = (s1 + x1 + s0) >>> 0;
  }
  return [s0, s1];
}
