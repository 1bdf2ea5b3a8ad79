// What a scenario is given, and gives.
import type { Turns } from "../contestant.ts";
import type { Row } from "../table.ts";

export interface Circumstance extends Turns {
  /** Of one measurement. */
  readonly seconds: number;
  /** Whether our own server takes part; otherwise only its peers are measured. */
  readonly withOurs: boolean;
  /** A directory of this run, removed after it. */
  readonly directory: string;
}

/** Measures, and gives the rows of its part of the table. */
export type Scenario = (circumstance: Circumstance) => Promise<readonly Row[]>;
