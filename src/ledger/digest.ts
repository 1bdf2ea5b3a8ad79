// Digests by which the store finds jobs: 128 bits of SHA-256, so that keys and owners are not kept to be read.

import { hash, randomFillSync } from "node:crypto";
import type { Digest } from "../store/store.ts";

/** Where a job is found: under its owner and id, so that another owner's id finds nothing. */
export function addressOf(owner: string, id: string): Digest {
  return digest(`job ${owner.length} ${owner} ${id}`);
}

export function keyDigest(owner: string, operation: string, key: string): Digest {
  return digest(`key ${owner.length} ${owner} ${operation} ${key}`);
}

export function contentDigest(owner: string, operation: string, input: string, upload: string): Digest {
  return digest(`content ${owner.length} ${owner} ${operation} ${upload} ${input}`);
}

function digest(text: string): Digest {
  return hash("sha256", text, "hex").slice(0, 32);
}

// Lower case only: a person can read it out, and a case-folding file system can hold it.
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const ID_BYTES = 16;

// Random bytes are cheap by the kilobyte and dear by the dozen.
const pool = new Uint8Array(ID_BYTES * 256);
let used = pool.length;

/** A new id: 128 random bits in 26 characters. */
export function createId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  let id = "";
  let bits = 0;
  let held = 0;
  for (let end = used + ID_BYTES; used < end; used++) {
    held = (held << 8) | (pool[used] as number);
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      id += ALPHABET[(held >>> bits) & 31];
    }
    held &= (1 << bits) - 1;
  }
  return id + ALPHABET[(held << (5 - bits)) & 31];
}
