// The judge. It is told what was asked, what was answered, what was seen later and what ran, and says what broke a
// promise. It looks at nothing by itself, so that made-up histories can test it.

import { createHash } from "node:crypto";
import type { Ask, Expectation, Run, Violation, ViolationKind } from "./evidence.ts";

interface Settled {
  readonly status: string;
  readonly attempt: number;
  readonly document: string;
  readonly etag: string | undefined;
  result: { readonly status: number; readonly body: string; readonly etag: string | undefined } | null;
}

interface Job {
  readonly id: string;
  readonly owner: string;
  readonly ask: Ask | null;
  attempt: number;
  settled: Settled | null;
  cancel: "none" | "tried" | "asked" | "done";
}

/** The status document, as far as it is judged. */
interface Document {
  readonly id: string;
  readonly operation: string;
  readonly status: string;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly error: { readonly type?: string } | null;
}

/** What was known of a job at a moment. */
export interface Known {
  readonly settled: boolean;
  readonly attempt: number;
}

const NOTHING_KNOWN: Known = { settled: false, attempt: 0 };

const ENDS = ["completed", "failed", "canceled"];

/** Attempts that may be lost with their worker before a job is given up. */
const MAX_CRASHES = 3;

export class Checker {
  readonly violations: Violation[] = [];
  /** 202s that were recorded. */
  accepted = 0;
  /** Repeats that were answered with a 202. */
  replays = 0;
  /** How often a server was told to shut down: each may give every attempt back once. */
  releases = 0;
  /** Which part of the test is under way; what is found says in which it was. */
  stage = "";
  /** Jobs that ended as failed because their workers were lost time and again. */
  givenUp = 0;
  readonly #expectations: Readonly<Record<string, Expectation>>;
  readonly #jobs = new Map<string, Job>();
  /** Which job a request became. */
  readonly #became = new Map<number, string>();
  /** Requests that may or may not have become a job. */
  readonly #open = new Map<number, Ask>();
  readonly #runs = new Set<string>();
  readonly #lastRun = new Map<string, number>();
  readonly #jobOfTag = new Map<string, string>();

  constructor(expectations: Readonly<Record<string, Expectation>>) {
    this.#expectations = expectations;
  }

  /** Every job that is known of. */
  get jobs(): readonly string[] {
    return [...this.#jobs.keys()];
  }

  ownerOf(id: string): string {
    return this.#jobs.get(id)!.owner;
  }

  jobOf(ask: Ask): string | undefined {
    return this.#became.get(ask.number);
  }

  isSettled(id: string): boolean {
    return this.#jobs.get(id)?.settled != null;
  }

  /** Whether a settled job's result was seen already. */
  hasResult(id: string): boolean {
    return this.#jobs.get(id)?.settled?.result != null;
  }

  /** Requests that got no full reply and can be resolved by repeating them. */
  get unresolved(): readonly Ask[] {
    return [...this.#open.values()].filter((ask) => ask.key !== null || ask.callersId !== null);
  }

  /** A full 202, or the outcome that was waited for. */
  saw202(ask: Ask, id: string, replayed: boolean): void {
    this.accepted++;
    if (replayed) this.replays++;
    this.#open.delete(ask.number);
    const before = this.#became.get(ask.number);
    if (before !== undefined && before !== id) {
      this.#say(
        "doubled",
        `request ${ask.number} (${ask.key ?? ask.callersId ?? "no key"}) became ${before} and ${id}`,
      );
      this.#know(id, ask);
      return;
    }
    if (ask.callersId !== null && ask.callersId !== id) {
      this.#say("error", `PUT /jobs/${ask.callersId} was answered with ${id}`);
    }
    this.#became.set(ask.number, id);
    const job = this.#know(id, ask);
    if (job.ask !== null && job.ask.number !== ask.number) {
      this.#say("mixed", `requests ${job.ask.number} and ${ask.number} both became ${id}`);
    }
  }

  /** No full reply: 0 or 1 jobs. */
  sawNothing(ask: Ask): void {
    if (!this.#became.has(ask.number)) this.#open.set(ask.number, ask);
  }

  /** A refusal by status. */
  sawRefusal(ask: Ask, status: number): void {
    this.#open.delete(ask.number);
    if (status >= 500 && status !== 503) this.#say("error", `request ${ask.number} was answered ${status}`);
    if (this.#became.has(ask.number) && status !== 503) {
      this.#say(
        "lost",
        `the repeat of request ${ask.number} (${this.#became.get(ask.number)}) was answered ${status}`,
      );
    }
  }

  /** The answer to another payload under the key of an accepted request. */
  sawOtherPayload(ask: Ask, status: number): void {
    if (status !== 422 && status !== 503) {
      this.#say(
        "key-reused",
        `another payload under the key of request ${ask.number} was answered ${status}`,
      );
    }
  }

  /** What is known of a job when it is asked about: an answer may be older than one that came first. */
  known(id: string): Known {
    const { settled, attempt } = this.#jobs.get(id)!;
    return { settled: settled !== null, attempt };
  }

  /** A cancel is sent: from now on the job may be canceled. */
  sendsCancel(id: string): void {
    const job = this.#jobs.get(id)!;
    if (job.cancel === "none") job.cancel = "tried";
  }

  /** The answer to a cancel; null where none came. */
  sawCancel(id: string, status: number | null, document: string | null): void {
    const job = this.#jobs.get(id)!;
    if (status === null || status === 503) return;
    if (status === 404) {
      this.#say("lost", `DELETE of ${id} was answered 404`);
      return;
    }
    if (status === 409) {
      if (job.cancel === "done") this.#say("cancel", `${id} was canceled, and then could not be`);
      return;
    }
    if (status !== 200 && status !== 202) {
      this.#say("error", `DELETE of ${id} was answered ${status}`);
      return;
    }
    if (status === 200) {
      job.cancel = "done";
      if (document !== null) this.#judge(job, document, undefined, NOTHING_KNOWN);
    } else if (job.cancel !== "done") job.cancel = "asked";
  }

  /** The monitor's answer (without the redirect). `known` is of when it was asked. */
  sawStatus(
    id: string,
    status: number,
    document: string,
    etag: string | undefined,
    known = this.known(id),
  ): void {
    const job = this.#jobs.get(id)!;
    if (status === 404 || status === 410) {
      this.#say("lost", `GET of ${id} was answered ${status}`);
      return;
    }
    if (status === 503) return;
    if (status !== 200) {
      this.#say("error", `GET of ${id} was answered ${status}`);
      return;
    }
    this.#judge(job, document, etag, known);
  }

  /** The answer of a settled job's result URL. */
  sawResult(id: string, status: number, body: string, etag: string | undefined): void {
    const { settled, ask } = this.#jobs.get(id)!;
    if (settled === null || status === 503) return;
    if (status === 404 || status === 410) {
      this.#say("lost", `the result of ${id} was answered ${status}`);
      return;
    }
    if (settled.status === "canceled" && status !== 409) {
      this.#say("cancel", `the result of the canceled ${id} was answered ${status}`);
      return;
    }
    const seen = { status, body: digest(body), etag };
    if (settled.result !== null) {
      const { result } = settled;
      if (result.status !== status || result.body !== seen.body || result.etag !== etag) {
        this.#say("changed", `the result of ${id} is another one than before`);
      }
      return;
    }
    settled.result = seen;
    if (settled.status === "completed") this.#judgeResult(id, ask, settled, status, body);
  }

  /** A whole listing of an owner, while nobody asks for anything else. */
  sawList(owner: string, documents: readonly string[]): void {
    const counts = new Map<string, number>();
    for (const document of documents) {
      const { id } = JSON.parse(document) as Document;
      counts.set(id, (counts.get(id) ?? 0) + 1);
      const job = this.#jobs.get(id);
      if (job !== undefined) this.#judge(job, document, undefined, this.known(id));
    }
    for (const [id, count] of counts) if (count > 1) this.#say("doubled", `${id} is listed ${count} times`);
    const known = [...this.#jobs.values()].filter((job) => job.owner === owner);
    for (const { id } of known) if (!counts.has(id)) this.#say("lost", `${id} is not in the listing`);
    const unknown = [...counts.keys()].filter((id) => !this.#jobs.has(id));
    const possible = [...this.#open.values()].filter((ask) => ask.owner === owner).length;
    if (unknown.length > possible) {
      this.#say(
        "doubled",
        `${owner} has ${unknown.length} jobs that nobody was told of, but only ${possible} requests without a reply`,
      );
    }
  }

  /** A line of the handler's record. */
  sawRun({ job, attempt, tag }: Run): void {
    const name = `${job}.${attempt}`;
    if (this.#runs.has(name)) this.#say("doubled", `attempt ${attempt} of ${job} began twice`);
    this.#runs.add(name);
    this.#lastRun.set(job, Math.max(this.#lastRun.get(job) ?? 0, attempt));
    const other = this.#jobOfTag.get(tag);
    if (other !== undefined && other !== job) this.#say("doubled", `${tag} ran as ${other} and as ${job}`);
    this.#jobOfTag.set(tag, job);
    const ask = this.#jobs.get(job)?.ask ?? null;
    if (ask !== null && ask.tag !== tag) this.#say("mixed", `${job} is of ${ask.tag} but ran ${tag}`);
  }

  /** So many of those asked for at once were let in, where `active` of `limit` were taken. */
  sawQuota(limit: number, active: number, asked: number, accepted: number): void {
    const free = Math.max(0, limit - active);
    if (active > limit) this.#say("quota", `${active} jobs are active where ${limit} may be`);
    if (accepted !== Math.min(asked, free)) {
      this.#say("quota", `${accepted} of ${asked} were accepted where ${active} of ${limit} were active`);
    }
  }

  /** How long it took from the loss of a worker to the next attempt; null: it did not come. */
  sawRescue(id: string, ms: number | null, limitMs: number): void {
    if (ms === null || ms > limitMs) {
      this.#say(
        "late",
        `${id} was run again ${ms === null ? "never" : `${ms} ms`} after its worker was lost; ${limitMs} ms are promised`,
      );
    }
  }

  /** Something else that was promised and is not so. */
  fail(kind: ViolationKind, detail: string): void {
    this.#say(kind, detail);
  }

  /** To be asked at the very end, when all that can run has run and all of it was looked at. */
  finish(): void {
    for (const ask of this.unresolved) this.#say("error", `request ${ask.number} was never resolved`);
    for (const job of this.#jobs.values()) this.#judgeEnd(job);
  }

  #judgeEnd(job: Job): void {
    const { id, settled } = job;
    if (settled === null) {
      this.#say("unsettled", `${id} has not ended`);
      return;
    }
    if (settled.result === null) this.#say("error", `the result of ${id} was not looked at`);
    const ran = this.#lastRun.get(id) ?? 0;
    if (ran > settled.attempt) {
      this.#say("doubled", `attempt ${ran} of ${id} ran, but attempt ${settled.attempt} ended it`);
    }
    if (settled.status === "completed" && !this.#runs.has(`${id}.${settled.attempt}`)) {
      this.#say("wrong-attempt", `${id} was completed by attempt ${settled.attempt}, which never ran`);
    }
  }

  #judge(job: Job, text: string, etag: string | undefined, known: Known): void {
    const document = JSON.parse(text) as Document;
    const { id } = job;
    const { status, attempt } = document;
    if (document.id !== id) {
      this.#say("error", `the document of ${id} is of ${document.id}`);
      return;
    }
    if (attempt > document.maxAttempts + MAX_CRASHES - 1 + this.releases) {
      this.#say("unbounded", `${id} is at attempt ${attempt} of ${document.maxAttempts}`);
    }
    if (attempt < known.attempt) {
      this.#say("changed", `${id} went back from attempt ${known.attempt} to ${attempt}`);
    }
    job.attempt = Math.max(job.attempt, attempt);
    const { settled } = job;
    if (!ENDS.includes(status)) {
      if (known.settled) this.#say("changed", `${id} was ${settled?.status} and is ${status}`);
      return;
    }
    if (settled === null) {
      job.settled = { status, attempt, document: digest(text), etag, result: null };
      this.#judgeOutcome(job, document);
    } else if (settled.status !== status)
      this.#say("changed", `${id} was ${settled.status} and is ${status}`);
    else if (settled.document !== digest(text))
      this.#say("changed", `the document of the settled ${id} is another one`);
    else if (etag !== undefined && settled.etag === undefined) job.settled = { ...settled, etag };
    else if (etag !== undefined && settled.etag !== etag) {
      this.#say("changed", `the ETag of the settled ${id} was ${settled.etag} and is ${etag}`);
    }
  }

  #judgeOutcome(job: Job, { operation, status, attempt, error }: Document): void {
    const expected = this.#expectations[operation];
    const { id } = job;
    if (expected === undefined) {
      this.#say("error", `${id} is of ${operation}`);
      return;
    }
    if (status === "canceled") {
      if (job.cancel === "none") this.#say("cancel", `${id} is canceled, but nobody asked for it`);
      return;
    }
    if (job.cancel === "done" || (job.cancel === "asked" && status !== "completed")) {
      this.#say("cancel", `${id} was asked to stop and is ${status}`);
    }
    if (status === expected.outcome) return;
    const lost = status === "failed" && error?.type?.endsWith("worker-lost") === true;
    if (lost && attempt >= MAX_CRASHES) this.givenUp++;
    else this.#say("wrong-outcome", `${id} (${operation}) ${status} at attempt ${attempt}: ${error?.type}`);
  }

  #judgeResult(id: string, ask: Ask | null, settled: Settled, status: number, body: string): void {
    if (status !== 200) {
      this.#say("lost", `the result of the completed ${id} was answered ${status}`);
      return;
    }
    const result = JSON.parse(body) as Partial<Run>;
    if (result.job !== id) {
      this.#say("mixed", `${id} has the result of ${result.job}`);
      return;
    }
    if (result.attempt !== settled.attempt) {
      this.#say(
        "wrong-attempt",
        `${id} was completed by attempt ${settled.attempt} with the result of ${result.attempt}`,
      );
    }
    if (ask !== null && result.tag !== ask.tag)
      this.#say("mixed", `${id} is of ${ask.tag} with the result of ${result.tag}`);
  }

  #know(id: string, ask: Ask): Job {
    let job = this.#jobs.get(id);
    if (job === undefined) {
      job = { id, owner: ask.owner, ask, attempt: 0, settled: null, cancel: "none" };
      this.#jobs.set(id, job);
    }
    return job;
  }

  #say(kind: ViolationKind, detail: string): void {
    this.violations.push({ kind, detail: this.stage === "" ? detail : `${this.stage}: ${detail}` });
  }
}

function digest(text: string): string {
  return createHash("sha1").update(text).digest("base64");
}
