// What every server of the crash tests has: its folder, its owners, and how it says that it is ready.

import { createHash } from "node:crypto";
import { join } from "node:path";
import type { ApiKey } from "../../src/http/api-keys.ts";
import { readTiers, type Tiers } from "../../src/http/tiers.ts";

/** Where a house keeps its things. */
export interface House {
  readonly folder: string;
  readonly files: string;
  /** The handlers' record of what began. */
  readonly runs: string;
  /** Their record of who was told to stop. */
  readonly stops: string;
}

/** What a process does: answers callers (`coatcheck serve --no-work`), works (`coatcheck work`), or both (`coatcheck serve`). */
export type Role = "serve" | "work" | "both";

/** Two that answer and two that work: any of them may die, and the other goes on. */
export const FLEET: readonly Role[] = ["serve", "serve", "work", "work"];

/** The embedded server, with nobody beside it. */
export const ALONE: readonly Role[] = ["both"];

export function houseIn(folder: string): House {
  return {
    folder,
    files: join(folder, "files"),
    runs: join(folder, "runs.jsonl"),
    stops: join(folder, "stops.jsonl"),
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
