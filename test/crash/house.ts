// What every server of the crash tests has: its folder, its owners, and how it says that it is ready.

import { createHash } from "node:crypto";
import { join } from "node:path";
import type { ApiKey } from "../../src/http/api-keys.ts";
import { readTiers, type Tiers } from "../../src/http/tiers.ts";

/** Where a house keeps its things. */
export interface House {
  readonly folder: string;
  readonly store: string;
  readonly files: string;
  /** The handlers' record of what began. */
  readonly runs: string;
}

export function houseIn(folder: string): House {
  return {
    folder,
    store: join(folder, "coatcheck.db"),
    files: join(folder, "files"),
    runs: join(folder, "runs.jsonl"),
  };
}

/** Those who ask. `small` may have only a few active jobs; nobody cancels those of `carol`. */
export const OWNERS = ["alice", "bob", "carol", "small"] as const;

export const SMALL_QUOTA = 5;

/** The same after every restart, so that documents are the same to the byte. */
export const PUBLIC_URL = "http://crash.example";

export function apiKeyOf(owner: string): string {
  return `ck_${owner.padEnd(8, "-")}${"0".repeat(32)}`;
}

export const KEYS: readonly ApiKey[] = OWNERS.map((owner) => ({
  name: owner,
  prefix: owner.padEnd(8, "-"),
  hash: `sha256:${createHash("sha256").update(apiKeyOf(owner)).digest("hex")}`,
  owner,
  tier: owner === "small" ? "small" : "default",
  scopes: ["submit", "read", "cancel"],
  createdAt: null,
  expiresAt: null,
}));

export const TIERS: Tiers = readTiers({
  default: { active: null, rate: null },
  small: { active: SMALL_QUOTA, rate: null },
});

/** Tells the harness where to ask, and ends gracefully on SIGTERM, as `coatcheck serve` does. */
export function announce(port: number | string, close: () => Promise<void>): void {
  process.once("SIGTERM", () => {
    close().then(
      () => process.exit(0),
      (error) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
  console.log(`ready ${port}`);
}
