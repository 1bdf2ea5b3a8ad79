// How an operation is worked: by a handler in this thread, or by a module in threads or processes of its own.

import type { Handler } from "../core/handler.ts";
import type { Operation } from "../core/operation.ts";

export type Isolation = "thread" | "process";

/** A handler that runs in the worker's own thread. */
export interface InProcess {
  readonly handler: Handler;
  /** Most attempts at once. Default 10. */
  readonly concurrency?: number;
}

/** A module whose default export is the handler, run in a thread or process per attempt. */
export interface Isolated {
  /** `new URL("./handler.js", import.meta.url)`, a URL's text or an absolute path. */
  readonly module: URL | string;
  /**
   * `thread`: for work that needs the processor; starts in a few hundredths of a second, shares the process.
   * `process`: for work that is not trusted to leave its process whole; a crash of native code ends only itself.
   */
  readonly isolate: Isolation;
  /** Most attempts at once, each with a thread or process. Default: the number of processors. */
  readonly concurrency?: number;
  /** Most memory of its JavaScript heap, in MiB. Default 1024. Buffers and native code are not counted. */
  readonly memoryMb?: number;
}

export type Registered = InProcess | Isolated;

export function isIsolated(registered: Registered): registered is Isolated {
  return "module" in registered;
}

/**
 * The operation with what its way of working says of its jobs: those of an isolated one need not be tried alone after a
 * crash. To be applied where an operation is registered, before jobs of it are accepted.
 */
export function asRegistered<O extends Operation>(operation: O, registered: Registered): O {
  return { ...operation, policy: { ...operation.policy, isolated: isIsolated(registered) } };
}
