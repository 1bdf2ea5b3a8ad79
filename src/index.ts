// What the package gives to a program that imports "coatcheck".

export {
  Failure,
  type Handler,
  type HandlerAttempt,
  Interruption,
  type StoredFile,
  type Upload,
} from "./core/handler.ts";
export { defineOperation, type InputOf, type Operation, type OperationOptions, type OutputOf } from "./core/operation.ts";
