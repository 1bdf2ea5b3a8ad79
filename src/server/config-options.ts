// What a configuration file exports: `defineConfig({ … })`. It loads nothing, so that the package can export it to everyone.

import type { Duration } from "../core/duration.ts";
import type { Handler } from "../core/handler.ts";
import type { InputOf, Operation, OutputOf } from "../core/operation.ts";
import type { JwtClaims } from "../http/jwt.ts";
import type { TierOptions } from "../http/tiers.ts";
import type { LogLevel } from "../telemetry/log.ts";
import type { WrittenKey } from "./keys-file.ts";

/** Gives types to what a configuration file exports; it changes nothing. */
export function defineConfig<const Listed extends readonly (Operation | string)[]>(
  options: ConfigOptions<Listed>,
): ConfigOptions<Listed> {
  return options;
}

/** An operation of a server, and who does its work: a handler in the server's thread, or a module. */
export interface OperationEntry<O = Operation | string> {
  /** What `defineOperation` gave, or where it is exported: `"./operations.js#renderReport"`. */
  readonly operation: O;
  readonly handler?: O extends Operation ? Handler<InputOf<O>, OutputOf<O>> : Handler;
  /** The module whose default export is the handler; a path from the configuration file, or a URL. */
  readonly module?: string | URL;
  /** Runs each attempt of a `module` in a thread or process of its own. */
  readonly isolate?: "thread" | "process";
  /** Most attempts at once, 1 to 10,000. */
  readonly concurrency?: number;
  /** Most memory of an isolated handler's JavaScript heap, in MiB. Default 1024. */
  readonly memoryMb?: number;
}

/** What a configuration file may say; `docs/reference/configuration.md` has every default. Paths are from the working directory. */
export interface ConfigOptions<
  Listed extends readonly (Operation | string)[] = readonly (Operation | string)[],
> {
  readonly operations: { readonly [At in keyof Listed]: OperationEntry<Listed[At]> };
  /** `sqlite:./data/coatcheck.db`, `postgres://…`, `redis://…` or `memory:`. */
  readonly store?: string;
  readonly files?: string;
  readonly host?: string;
  readonly port?: number;
  readonly publicUrl?: string;
  readonly access?: {
    readonly keys?: readonly WrittenKey[];
    readonly keysFile?: string;
    readonly jwt?: {
      readonly jwksUrl?: string;
      readonly jwks?: { readonly keys: readonly object[] };
      readonly issuer: string | readonly string[];
      readonly audience: string | readonly string[];
      readonly algorithms?: readonly string[];
      readonly clockTolerance?: Duration;
      readonly claims?: JwtClaims;
    };
  };
  readonly tiers?: Readonly<Record<string, TierOptions>>;
  readonly limits?: "on" | "off";
  /** False: the server only serves, and `coatcheck work` works. Default true. */
  readonly work?: boolean;
  /** Most attempts at once in one process, over all operations. */
  readonly concurrency?: number;
  /** Where `coatcheck work` answers `/health/live` and `/health/ready`. Default: nowhere. */
  readonly healthPort?: number;
  readonly cors?: { readonly origins?: readonly string[] };
  readonly log?: { readonly level?: LogLevel; readonly pretty?: boolean };
  readonly shutdownGrace?: Duration;
}
