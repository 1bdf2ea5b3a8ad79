// The operations of one server, their schemas made ready.

import type { Operation } from "./operation.ts";
import { type Checker, compileSchema } from "./schema.ts";

export interface ReadyOperation {
  readonly operation: Operation;
  /** Null where it takes no input. */
  readonly input: Checker | null;
  /** Null where its result is not checked. */
  readonly output: Checker | null;
}

export type Operations = ReadonlyMap<string, ReadyOperation>;

/** Makes operations ready, by name. Throws a `TypeError` in one sentence where two share a name or a path. */
export function readyOperations(operations: readonly Operation[]): Operations {
  const ready = new Map<string, ReadyOperation>();
  const paths = new Set<string>();
  for (const operation of operations) {
    const { name, path } = operation;
    if (ready.has(name)) throw new TypeError(`Two operations are named "${name}".`);
    if (paths.has(path)) throw new TypeError(`Two operations are submitted to "${path}".`);
    paths.add(path);
    ready.set(name, {
      operation,
      input: operation.input === null ? null : compileSchema(operation.input, `The input schema of ${name}`),
      output:
        operation.output === null ? null : compileSchema(operation.output, `The output schema of ${name}`),
    });
  }
  return ready;
}
