// An attempt as its handler holds it: nothing of it is made before it is asked for.

import type { HandlerAttempt } from "../core/handler.ts";
import type { Attempt } from "./attempt.ts";
import type { SaveFrom } from "./files.ts";
import { writeJson } from "./outcome.ts";

/** Its members work when they are taken out of it as well. */
export class Given implements HandlerAttempt {
  readonly #attempt: Attempt;

  constructor(attempt: Attempt) {
    this.#attempt = attempt;
  }

  get id() {
    return this.#attempt.job.id;
  }
  get owner() {
    return this.#attempt.job.owner;
  }
  get operation() {
    return this.#attempt.job.operation;
  }
  get number() {
    return this.#attempt.job.attempt;
  }
  get signal() {
    return this.#attempt.signal;
  }
  get idempotencyKey() {
    return this.#attempt.idempotencyKey;
  }
  get resume(): unknown {
    const { checkpoint } = this.#attempt.job;
    return checkpoint === null ? undefined : JSON.parse(checkpoint);
  }
  get upload() {
    const { upload } = this.#attempt.job;
    return upload === null ? undefined : this.#attempt.files.upload(upload);
  }
  get log() {
    return this.#attempt.log;
  }
  get progress() {
    const attempt = this.#attempt;
    return (percent: number | null, message?: string) => attempt.progress(percent, message);
  }
  get checkpoint() {
    const attempt = this.#attempt;
    return async (state: unknown) => attempt.checkpoint(writeJson(state, "The checkpoint"));
  }
  get scratch() {
    const attempt = this.#attempt;
    return async () => attempt.files.scratch();
  }
  get save() {
    const attempt = this.#attempt;
    return async (name: string, from: SaveFrom, type: string) => attempt.save(name, from, type);
  }
}
