// How the engine's parts call the server: scripts that read, scripts that write under a number, and plain commands.
//
// Each writing script gets the number that its lane gives it, and is sent again under the same number when its answer was
// lost: the server does it once, and tells what it did (script.ts).

import { randomBytes } from "node:crypto";
import { StoreUnavailable } from "../store.ts";
import { Policies } from "./codec.ts";
import type { Connection } from "./connection.ts";
import type { Script } from "./script.ts";

export class Calls {
  readonly policies = new Policies();
  readonly #connection: Connection;
  readonly #base: string;
  /** Whose calls and tokens these are: no two engines have the same. */
  readonly #engine = randomBytes(6).toString("base64url");
  readonly #lanes = new Set<string>();
  #tokens = 0;
  /** Rising over all lanes, so one that is used anew goes on. */
  #serial = 0;

  constructor(connection: Connection, prefix: string) {
    this.#connection = connection;
    this.#base = `{${prefix}}:`;
  }

  key(name: string): string {
    return this.#base + name;
  }

  /** 16 characters that no write had before. */
  token(): string {
    return this.#engine + (this.#tokens++).toString(36).padStart(8, "0");
  }

  /** A lane that no call of this engine uses now: a lane has one call at a time. */
  takeLane(): string {
    for (let number = 0; ; number++) {
      const name = String(number);
      if (this.#lanes.has(name)) continue;
      this.#lanes.add(name);
      return name;
    }
  }

  freeLane(name: string): void {
    this.#lanes.delete(name);
  }

  /** The answer's first element is "done" where an earlier sending did it, and its answer was lost. @throws StoreUnavailable */
  async numbered(script: Script, lane: string, args: readonly string[]): Promise<readonly unknown[]> {
    const all = [this.#base, this.#engine, lane, String(++this.#serial), ...args];
    const reply = (await this.#connection.run(script, all)) as readonly unknown[];
    if (reply[0] === "late") throw new StoreUnavailable("A write reached Redis after its time.");
    return reply;
  }

  /** @throws StoreUnavailable */
  async read(script: Script, args: readonly string[]): Promise<readonly unknown[]> {
    return (await this.#connection.run(script, [this.#base, ...args])) as readonly unknown[];
  }

  /** A command that may be done twice. @throws StoreUnavailable */
  async command(name: string, ...args: readonly string[]): Promise<unknown> {
    return await this.#connection.command(name, args);
  }
}
