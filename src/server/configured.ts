// A desk as a configuration has it: the same for the process that serves and for the one that only works.

import type { Logger } from "pino";
import type { Config, ConfiguredOperation } from "./config.ts";
import type { Desk } from "./desk.ts";
import type { DeskOptions } from "./desk-options.ts";

/** The options of the configuration's desk, but for who may ask. */
export function deskOptionsOf(config: Config, log: Logger): DeskOptions {
  const { operations, store, files, concurrency, shutdownGraceMs } = config;
  return {
    operations: operations.map(({ operation }) => operation),
    store,
    ...(files === null ? {} : { files }),
    ...(concurrency === undefined || concurrency === null ? {} : { concurrency }),
    log,
    shutdownGrace: shutdownGraceMs,
  };
}

/**
 * Registers all handlers, also with a server that does not work: from how an operation is worked follows what its jobs may
 * bring down.
 */
export function register(desk: Desk, operations: readonly ConfiguredOperation[]): void {
  for (const { operation, handler, module, isolate, concurrency, memoryMb } of operations) {
    const options = concurrency === null ? {} : { concurrency };
    if (handler !== null) desk.handle(operation, handler, options);
    else if (module !== null) {
      const bounds = memoryMb === undefined || memoryMb === null ? options : { ...options, memoryMb };
      desk.handle(operation, { module, isolate, ...bounds });
    }
  }
}
