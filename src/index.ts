// What the package gives to a program that imports "coatcheck".

export { PathRefused, pathBelow } from "./blob/below.ts";
export type { Event, EventKind } from "./core/event.ts";
export {
  Failure,
  type Handler,
  type HandlerAttempt,
  Interruption,
  type StoredFile,
  type Upload,
} from "./core/handler.ts";
export type { Job, Status } from "./core/job.ts";
export type { Accepted, Refused, View } from "./core/jobs.ts";
export {
  defineOperation,
  type InputOf,
  type Operation,
  type OperationOptions,
  type OutputOf,
} from "./core/operation.ts";
export { PROBLEMS, type ProblemDocument, type ProblemName } from "./core/problem.ts";
export { RELATIVE_PATH } from "./core/relative-path.ts";
export { type ConfigOptions, defineConfig } from "./server/config-options.ts";
export { coatcheck, type Desk } from "./server/desk.ts";
export type { DeskOptions } from "./server/desk-options.ts";
