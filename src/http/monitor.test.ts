import { afterEach, describe, expect, it } from "vitest";
import { type DoorOptions, type OpenDoor, openTestDoor, PUBLIC_URL } from "../../test/open-door.ts";
import { problem } from "../core/problem.ts";

let door: OpenDoor;
afterEach(() => door?.close());

async function open(options?: DoorOptions): Promise<OpenDoor> {
  door = await openTestDoor(options);
  return door;
}

const PRIVATE = "private, no-store";

describe("GET on the monitor", () => {
  it("follows a job from the line to its end", async () => {
    const { ask, submit, claim, complete, ledger } = await open();
    const [, id] = [await submit(), await submit()];
    const queued = await ask(`/jobs/${id}`);
    expect(queued).toMatchObject({ status: 200, json: { status: "queued", position: 2 } });
    expect(queued.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
    expect(queued.headers.get("cache-control")).toBe(PRIVATE);
    await claim();
    expect((await ask(`/jobs/${id}`)).json.position).toBe(1);
    const job = await claim();
    await ledger.attempts.heartbeat({ row: job.row, attempt: 1 }, { progress: 45, message: "Half way…" });
    expect((await ask(`/jobs/${id}`)).json).toMatchObject({
      status: "processing",
      attempt: 1,
      position: null,
      progress: 45,
      message: "Half way…",
    });
    await complete(job, "1");
    const completed = await ask(`/jobs/${id}`);
    expect(completed).toMatchObject({ status: 303, json: { status: "completed", progress: 100 } });
    expect(completed.headers.get("location")).toBe(`${PUBLIC_URL}/jobs/${id}/result`);
    for (const absent of ["retry-after", "ratelimit", "ratelimit-policy"]) {
      expect(completed.headers.get(absent)).toBeNull();
    }
    expect((await ask(`/jobs/${id}?redirect=false&api-version=2`)).status).toBe(200);
  });

  it("tells why a job failed", async () => {
    const { ask, submit, claim, fail } = await open();
    const id = await submit();
    await fail(await claim(), problem("attempt-failed", "The disk is full."));
    const answer = await ask(`/jobs/${id}`);
    expect(answer.status).toBe(200);
    expect(answer.json).toMatchObject({
      status: "failed",
      error: { type: `${PUBLIC_URL}/problems/attempt-failed`, status: 500, detail: "The disk is full." },
    });
  });

  it("answers 304 as long as nothing changed, and never hides a better place in the line", async () => {
    const { ask, submit, claim } = await open();
    const [first, second] = [await submit(), await submit()];
    expect(first).not.toBe(second);
    const before = await ask(`/jobs/${second}`);
    const headers = { "if-none-match": before.headers.get("etag")! };
    const same = await ask(`/jobs/${second}`, { headers });
    expect(same).toMatchObject({ status: 304, text: "" });
    expect(same.headers.get("etag")).toBe(headers["if-none-match"]);
    await claim();
    const after = await ask(`/jobs/${second}`, { headers });
    expect(after).toMatchObject({ status: 200, json: { position: 1 } });
  });

  it("answers 304 as long as a running job has only its lease renewed and its state saved", async () => {
    const { ask, submit, claim, ledger, pass } = await open();
    const id = await submit();
    const job = await claim();
    const ref = { row: job.row, attempt: 1 };
    await ledger.attempts.heartbeat(ref, { progress: 45, message: "Half way…" });
    const before = await ask(`/jobs/${id}`);
    const headers = { "if-none-match": before.headers.get("etag")! };
    for (const beat of [{}, { progress: 45 }, { checkpoint: "[1]" }, { message: "Half way…" }]) {
      await pass(1_000);
      await ledger.attempts.heartbeat(ref, beat);
      expect([beat, (await ask(`/jobs/${id}`, { headers })).status]).toEqual([beat, 304]);
    }
    const { estimatedCompletion: _first, ...first } = before.json;
    const { estimatedCompletion: _second, ...second } = (await ask(`/jobs/${id}`)).json;
    expect(second).toEqual(first);
    await ledger.attempts.heartbeat(ref, { progress: 46 });
    expect(await ask(`/jobs/${id}`, { headers })).toMatchObject({ status: 200, json: { progress: 46 } });
  });

  it("C3: gives a settled job the same tag and the same bytes for ever", async () => {
    const { ask, submit, claim, complete, pass } = await open();
    const id = await submit();
    await complete(await claim(), "1");
    const before = await ask(`/jobs/${id}?redirect=false`);
    await pass(3_600_000);
    await submit();
    const after = await ask(`/jobs/${id}?redirect=false`);
    expect(after.headers.get("etag")).toBe(before.headers.get("etag"));
    expect(after.text).toBe(before.text);
  });

  it("answers 410 once the job expired, and 404 once that is forgotten too", async () => {
    const { ask, submit, claim, complete, pass } = await open();
    const id = await submit({ operation: "brief" });
    await complete(await claim("brief"), "1");
    await pass(2_000);
    for (const path of [`/jobs/${id}`, `/jobs/${id}/result`]) {
      const gone = await ask(path);
      expect(gone.json).toMatchObject({ status: 410, type: `${PUBLIC_URL}/problems/gone` });
      expect(gone.headers.get("cache-control")).toBe(PRIVATE);
    }
    expect((await ask(`/jobs/${id}`, { method: "DELETE" })).status).toBe(410);
    await pass(31 * 86_400_000);
    expect((await ask(`/jobs/${id}`)).status).toBe(404);
  });

  it("refuses an unknown parameter where it is told to be strict", async () => {
    const { ask, submit } = await open();
    const id = await submit();
    const headers = { prefer: "handling=strict" };
    expect((await ask(`/jobs/${id}?api-version=2`, { headers })).status).toBe(400);
    const answer = await ask(`/jobs/${id}?redirect=false`, { headers });
    expect(answer.headers.get("preference-applied")).toBe("handling=strict");
  });

  it("refuses a preference that it does not know where it is told to be strict, and passes over it else", async () => {
    const { ask, submit } = await open();
    const id = await submit();
    for (const [method, prefer, status] of [
      ["GET", "respond-async", 200],
      ["GET", "respond-async, handling=strict", 400],
      ["GET", "handling=strict, foo", 400],
      ["GET", "handling=strict, wait=0", 200],
      ["DELETE", "handling=strict, wait=5", 400],
      ["DELETE", "handling=strict, return=minimal", 204],
    ] as const) {
      const answer = await ask(`/jobs/${id}`, { method, headers: { prefer } });
      expect([method, prefer, answer.status]).toEqual([method, prefer, status]);
    }
  });

  it("has a HEAD that differs in nothing but the body", async () => {
    const { ask, submit } = await open();
    const id = await submit();
    const [get, head] = [await ask(`/jobs/${id}`), await ask(`/jobs/${id}`, { method: "HEAD" })];
    expect(head.text).toBe("");
    // The connection is not part of the answer, and Retry-After is thrown anew each time.
    const others = ["connection", "keep-alive", "date", "retry-after"];
    const ofAnswer = ({ headers }: typeof get) => [...headers].filter(([name]) => !others.includes(name));
    expect(ofAnswer(head)).toEqual(ofAnswer(get));
  });
});

describe("Prefer: wait on the monitor", () => {
  it("is answered once the job settles", async () => {
    const waiting = watched();
    const { ask, submit, claim, complete } = await open({ between: waiting.between });
    const id = await submit();
    const answering = ask(`/jobs/${id}`, { headers: { prefer: "wait=30" } });
    await waiting.begun;
    await complete(await claim(), "1");
    const answer = await answering;
    expect(answer.status).toBe(303);
    expect(answer.headers.get("preference-applied")).toBe("wait");
  });

  it("is answered with the job as it stands where the time is up, at most the longest there is", async () => {
    const { ask, submit } = await open({ http: { longestWaitMs: 30, waitMs: 20 } });
    const id = await submit();
    for (const prefer of ["wait=3600", "wait"]) {
      const answer = await ask(`/jobs/${id}`, { headers: { prefer } });
      expect(answer).toMatchObject({ status: 200, json: { status: "queued" } });
      expect(answer.headers.get("preference-applied")).toBe("wait");
    }
  });

  it("is answered at once, and not as honoured, where the owner waits too often already", async () => {
    const waiting = watched();
    const { ask, submit, claim, complete } = await open({
      between: waiting.between,
      http: { waitsPerOwner: 1 },
    });
    const id = await submit();
    const first = ask(`/jobs/${id}`, { headers: { prefer: "wait=30" } });
    await waiting.begun;
    const second = await ask(`/jobs/${id}`, { headers: { prefer: "wait=30" } });
    expect(second.status).toBe(200);
    expect(second.headers.get("preference-applied")).toBeNull();
    await complete(await claim(), "1");
    expect((await first).status).toBe(303);
  });

  it("ends when the caller hangs up, and makes room", async () => {
    const waiting = watched();
    const { ask, submit } = await open({ between: waiting.between, http: { waits: 1, waitMs: 10 } });
    const id = await submit();
    const caller = new AbortController();
    const answering = ask(`/jobs/${id}`, { headers: { prefer: "wait=60" }, signal: caller.signal });
    const signal = await waiting.begun;
    const ended = new Promise((resolve) => signal.addEventListener("abort", resolve));
    caller.abort();
    await expect(answering).rejects.toThrow();
    await ended;
    await waiting.ended;
    const next = await ask(`/jobs/${id}`, { headers: { prefer: "wait" } });
    expect(next.headers.get("preference-applied")).toBe("wait");
  });

  it("ends when the server stops, with the job as it stands", async () => {
    const waiting = watched();
    const { ask, submit, close } = await open({ between: waiting.between });
    const id = await submit();
    const answering = ask(`/jobs/${id}`, { headers: { prefer: "wait=60" } });
    await waiting.begun;
    await close();
    expect(await answering).toMatchObject({ status: 200, json: { status: "queued" } });
  });
});

describe("DELETE", () => {
  it("cancels a queued job at once, and says so again", async () => {
    const { ask, submit } = await open();
    const id = await submit();
    for (let time = 0; time < 2; time++) {
      const answer = await ask(`/jobs/${id}`, { method: "DELETE" });
      expect(answer).toMatchObject({ status: 200, json: { id, status: "canceled" } });
      expect(answer.headers.get("content-location")).toBe(`${PUBLIC_URL}/jobs/${id}`);
    }
    const result = await ask(`/jobs/${id}/result`);
    expect(result.json).toMatchObject({ status: 409, type: `${PUBLIC_URL}/problems/job-canceled` });
  });

  it("asks a processing job to stop, and it settles as canceled when it does", async () => {
    const { ask, submit, claim, ledger } = await open();
    const id = await submit();
    const job = await claim();
    const answer = await ask(`/jobs/${id}`, { method: "DELETE" });
    expect(answer).toMatchObject({ status: 202, json: { status: "processing" } });
    expect(answer.json.cancelRequestedAt).toMatch(/Z$/);
    expect(answer.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
    await ledger.attempts.settle({ row: job.row, attempt: 1 }, { kind: "canceled" });
    expect((await ask(`/jobs/${id}`)).json.status).toBe("canceled");
  });

  it("C8: of a job that has ended is answered 409 with how it ended", async () => {
    const { ask, submit, claim, complete, fail } = await open();
    const [completed, failed] = [await submit(), await submit()];
    await complete(await claim(), "1");
    await fail(await claim(), problem("timed-out"));
    for (const [id, status] of [
      [completed, "completed"],
      [failed, "failed"],
    ]) {
      const answer = await ask(`/jobs/${id}`, { method: "DELETE" });
      expect(answer.json).toMatchObject({
        status: 409,
        type: `${PUBLIC_URL}/problems/already-settled`,
        job: { id, status },
      });
    }
  });

  it("is answered without a body where a minimal answer is preferred", async () => {
    const { ask, submit } = await open();
    const id = await submit();
    const answer = await ask(`/jobs/${id}`, { method: "DELETE", headers: { prefer: "return=minimal" } });
    expect(answer).toMatchObject({ status: 204, text: "" });
    expect(answer.headers.get("preference-applied")).toBe("return=minimal");
  });

  it("D1: of another owner's job is answered 404 and has no effect", async () => {
    const { ask, submit } = await open();
    const id = await submit();
    expect((await ask(`/jobs/${id}`, { method: "DELETE", as: "bob" })).status).toBe(404);
    expect((await ask(`/jobs/${id}`)).json.status).toBe("queued");
  });
});

/** Tells when a wait has begun at the ledger, and when it has ended. */
function watched() {
  let begin: (signal: AbortSignal) => void = () => {};
  let end: () => void = () => {};
  const begun = new Promise<AbortSignal>((resolve) => {
    begin = resolve;
  });
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const between: NonNullable<DoorOptions["between"]> = (jobs) => ({
    ...jobs,
    async wait(caller, id, waitMs, signal) {
      const waiting = jobs.wait(caller, id, waitMs, signal);
      begin(signal);
      const view = await waiting;
      end();
      return view;
    },
  });
  return { between, begun, ended };
}
