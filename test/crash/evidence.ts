// What the judge is told, and what it says.

/** One thing that a caller wanted done. Sent again it is the same one, if it has a key or an id of the caller's. */
export interface Ask {
  readonly number: number;
  readonly owner: string;
  readonly operation: string;
  readonly key: string | null;
  readonly callersId: string | null;
  /** Part of the input, and no other request's: it tells in the handler's record which one it was. */
  readonly tag: string;
}

/** What the handler's record says: this attempt began. */
export interface Run {
  readonly job: string;
  readonly attempt: number;
  readonly tag: string;
  /** ms since 1970. */
  readonly at: number;
  /** Of the process that runs it. */
  readonly pid: number;
}

/** What a handler writes down that was told to stop. */
export interface Stop {
  readonly job: string;
  readonly attempt: number;
  /** ms since 1970. */
  readonly at: number;
}

/** What an operation's jobs may come to. */
export interface Expectation {
  readonly outcome: "completed" | "failed";
  readonly maxAttempts: number;
}

export type ViolationKind =
  /** A 202 was given, and there is no such job, or not its end. */
  | "lost"
  /** One request became two jobs, one attempt ran twice, or ended work ran again. */
  | "doubled"
  /** Two requests became one job. */
  | "mixed"
  /** What was settled did not stay as it was. */
  | "changed"
  /** The result is not of the attempt that the job names. */
  | "wrong-attempt"
  | "wrong-outcome"
  | "unsettled"
  | "unbounded"
  /** Another payload under a key was not refused. */
  | "key-reused"
  | "cancel"
  | "quota"
  /** Not run again in time after its worker was lost. */
  | "late"
  /** 5xx other than 503, or an answer that makes no sense. */
  | "error";

export interface Violation {
  readonly kind: ViolationKind;
  readonly detail: string;
}
