// Policies are few and jobs many: each is kept once, and named by its number.

import type { Policy } from "../../core/job.ts";
import { type Connection, first } from "./connection.ts";
import { quote } from "./sql.ts";

export class Policies {
  readonly #connection: Connection;
  readonly #table: string;
  readonly #numbers = new Map<string, number>();
  readonly #policies = new Map<number, Policy>();
  /** The same policy is mostly the same object. */
  readonly #known = new WeakMap<Policy, number>();

  constructor(connection: Connection, table: string) {
    this.#connection = connection;
    this.#table = table;
  }

  /** Makes sure that each has a number. */
  async learn(policies: Iterable<Policy>): Promise<void> {
    const fresh = new Set<string>();
    for (const policy of policies) {
      if (this.#known.has(policy)) continue;
      const json = JSON.stringify(policy);
      const number = this.#numbers.get(json);
      if (number === undefined) fresh.add(json);
      else this.#known.set(policy, number);
    }
    for (const json of fresh) {
      const [, found] = await this.#connection.ask(
        `INSERT INTO ${this.#table} (json) VALUES (${quote(json)}) ON CONFLICT DO NOTHING;
         SELECT number FROM ${this.#table} WHERE json = ${quote(json)}`,
      );
      this.#keep(first<{ number: number }>(found).number, json);
    }
  }

  number(policy: Policy): number {
    const known = this.#known.get(policy);
    if (known !== undefined) return known;
    const number = this.#numbers.get(JSON.stringify(policy));
    if (number === undefined) throw new Error("A policy has no number yet.");
    this.#known.set(policy, number);
    return number;
  }

  /** Makes sure that each of these numbers is known. */
  async read(numbers: Iterable<number>): Promise<void> {
    for (const number of numbers) {
      if (this.#policies.has(number)) continue;
      const [all] = await this.#connection.ask(`SELECT number, json FROM ${this.#table}`);
      for (const row of (all?.rows ?? []) as readonly { number: number; json: string }[])
        this.#keep(row.number, row.json);
      if (!this.#policies.has(number)) throw new Error(`The store has no policy ${number}.`);
    }
  }

  policy(number: number): Policy {
    const policy = this.#policies.get(number);
    if (policy === undefined) throw new Error(`The store has no policy ${number}.`);
    return policy;
  }

  #keep(number: number, json: string): void {
    if (this.#policies.has(number)) return;
    const policy = JSON.parse(json) as Policy;
    this.#numbers.set(json, number);
    this.#policies.set(number, policy);
    this.#known.set(policy, number);
  }
}
