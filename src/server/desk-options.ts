// What one says to make a desk.

import type { Logger } from "pino";
import type { Duration } from "../core/duration.ts";
import type { Operation } from "../core/operation.ts";
import type { CallerOf, ReadyAccess } from "../http/access.ts";
import type { ApiKey } from "../http/api-keys.ts";
import type { JwtOptions } from "../http/jwt.ts";
import type { TierOptions, Tiers } from "../http/tiers.ts";
import type { Clock } from "../store/clock.ts";

export interface DeskOptions {
  readonly operations: readonly Operation[];
  /**
   * `"sqlite:path/to/file.db"`; for many servers and workers `"postgres://…"` (needs `pg`; `?schema=`, `?durability=process`,
   * `?pooler=true`) or `"redis://…"` (needs `ioredis`; `?prefix=`, `?durability=process`); or `"memory:"` to keep nothing.
   * Default `"sqlite:./data/coatcheck.db"`.
   */
  readonly store?: string;
  /**
   * The folder of uploads and results; all processes of one store need the same one, and no other store may have it.
   * Default: `files` beside an SQLite database, else `./data/files`.
   */
  readonly files?: string;
  /**
   * The URL under which callers reach the mounted routes, such as `https://api.example.com/slow`. It is never taken
   * from `Host`. Default: the address and port that the request's connection came in on, with the mount's path.
   */
  readonly publicUrl?: string;
  /** Who asks, by the app's own authentication; null is answered 401. Without it, `keys` and `jwt` everyone is one owner. */
  readonly caller?: CallerOf;
  readonly keys?: readonly ApiKey[];
  readonly jwt?: JwtOptions;
  /** What owners may do, by the tier's name. Default: one tier, `default`. */
  readonly tiers?: Readonly<Record<string, TierOptions>>;
  /** `"off"` lifts every rate and quota. Default `"on"`. */
  readonly limits?: "on" | "off";
  /** Whether the mounts start working, where handlers are registered. False: only `work()` does. Default true. */
  readonly work?: boolean;
  /** Most attempts at once in this process, over all operations. Default: what the operations' own bounds add up to. */
  readonly concurrency?: number;
  /** A pino logger, or false for none. Default: warnings and worse, on standard output. */
  readonly log?: Logger | false;
  /** How long running attempts may take to stop when the desk closes. Default 25 s. */
  readonly shutdownGrace?: Duration;
  /** Called when the store can't go on; the process should end. Default: it is logged and the process exits with 70. */
  readonly onBroken?: (error: Error) => void;
  /** Moved by tests. Default: the system's. */
  readonly clock?: Clock;
  /** Instead of `caller`, `keys` and `jwt`: an access that is made already. */
  readonly access?: ReadyAccess;
  /** Instead of `tiers` and `limits`: tiers that are made already. */
  readonly readyTiers?: Tiers;
}
