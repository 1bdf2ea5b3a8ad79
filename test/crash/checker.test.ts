// Made-up histories: the checker finds what is wrong in each, and nothing in a sound one.
import { expect, test } from "vitest";
import { Checker } from "./checker.ts";
import type { Ask, ViolationKind } from "./evidence.ts";
import { planStrike, SOCKET_DECK } from "./plan.ts";
import { readDiary } from "./target.ts";

const EXPECTATIONS = {
  work: { outcome: "completed", maxAttempts: 3 },
  doomed: { outcome: "failed", maxAttempts: 3 },
} as const;

test("a sound history passes", () => {
  const checker = history();
  checker.finish();
  expect(checker.violations).toEqual([]);
  expect(checker.accepted).toBe(2);
  expect(checker.replays).toBe(1);
});

test("an accepted job that is answered 404 is lost", () => {
  expect(found((checker) => checker.sawStatus("a", 404, "", undefined))).toEqual(["lost"]);
});

test("an accepted job that is answered 410 before its retention is lost", () => {
  expect(found((checker) => checker.sawStatus("a", 410, "", undefined))).toEqual(["lost"]);
});

test("an accepted job that its owner's listing lacks is lost", () => {
  expect(found((checker) => checker.sawList("alice", []))).toEqual(["lost"]);
});

test("a result that is gone is lost", () => {
  expect(found((checker) => checker.sawResult("a", 404, "", undefined))).toEqual(["lost"]);
});

test("a repeat that is refused is lost", () => {
  expect(found((checker) => checker.sawRefusal(ask(1), 422))).toEqual(["lost"]);
});

test("a key with two ids is doubled", () => {
  expect(found((checker) => checker.saw202(ask(1), "b", true))).toContain("doubled");
});

test("a job that is listed twice is doubled", () => {
  expect(found((checker) => checker.sawList("alice", [done("a"), done("a")]))).toEqual(["doubled"]);
});

test("a listed job that no request can have become is doubled", () => {
  expect(found((checker) => checker.sawList("alice", [done("a"), done("b")]))).toEqual(["doubled"]);
});

test("a listed job that a request without a reply may have become is none", () => {
  const wrong = found((checker) => {
    checker.sawNothing(ask(2, null));
    checker.sawList("alice", [done("a"), done("b")]);
  });
  expect(wrong).toEqual([]);
});

test("a request that ran as two jobs is doubled", () => {
  expect(found((checker) => checker.sawRun(run("b", 1, "t1")))).toEqual(["doubled"]);
});

test("an attempt that began twice is doubled", () => {
  expect(found((checker) => checker.sawRun(run("a", 1, "t1")))).toEqual(["doubled"]);
});

test("an attempt that began after the job had ended is doubled", () => {
  expect(found((checker) => checker.sawRun(run("a", 2, "t1")))).toEqual(["doubled"]);
});

test("two requests with one id are mixed", () => {
  expect(found((checker) => checker.saw202(ask(2), "a", false))).toEqual(["mixed"]);
});

test("a job that runs another request's input is mixed", () => {
  expect(found((checker) => checker.sawRun(run("a", 3, "t9")))).toContain("mixed");
});

test("a settled status that becomes another is changed", () => {
  expect(found((checker) => checker.sawStatus("a", 200, done("a", { status: "failed" }), '"3"'))).toEqual([
    "changed",
  ]);
});

test("a settled job that is active again is changed", () => {
  const active = done("a", { status: "processing" });
  expect(found((checker) => checker.sawStatus("a", 200, active, undefined))).toEqual(["changed"]);
});

test("an answer that was asked for before the job settled may be older than that", () => {
  const before = { settled: false, attempt: 0 };
  const active = done("a", { status: "processing" });
  expect(found((checker) => checker.sawStatus("a", 200, active, undefined, before))).toEqual([]);
});

test("a settled document with any other byte is changed", () => {
  const other = done("a", { updatedAt: "later" });
  expect(found((checker) => checker.sawStatus("a", 200, other, '"3"'))).toEqual(["changed"]);
});

test("a settled document with another ETag is changed", () => {
  expect(found((checker) => checker.sawStatus("a", 200, done("a"), '"4"'))).toEqual(["changed"]);
});

test("a result with any other byte is changed", () => {
  expect(found((checker) => checker.sawResult("a", 200, `${result("a")} `, '"r"'))).toEqual(["changed"]);
});

test("an attempt that goes back is changed", () => {
  const wrong = found((checker) => {
    checker.saw202(ask(2), "b", false);
    checker.sawStatus("b", 200, done("b", { status: "queued", attempt: 2 }), undefined);
    checker.sawStatus("b", 200, done("b", { status: "queued", attempt: 1 }), undefined);
  });
  expect(wrong).toContain("changed");
});

test("the result of another attempt than the job names is found", () => {
  const wrong = found((checker) => {
    checker.saw202(ask(2), "b", false);
    checker.sawRun(run("b", 1, "t2"));
    checker.sawRun(run("b", 2, "t2"));
    checker.sawStatus("b", 200, done("b", { attempt: 2 }), '"5"');
    checker.sawResult("b", 200, JSON.stringify({ job: "b", attempt: 1, tag: "t2" }), '"r"');
  });
  expect(wrong).toEqual(["wrong-attempt"]);
});

test("a completion by an attempt that never ran is found", () => {
  const wrong = found((checker) => {
    checker.saw202(ask(2), "b", false);
    checker.sawStatus("b", 200, done("b"), '"5"');
    checker.sawResult("b", 200, JSON.stringify({ job: "b", attempt: 1, tag: "t2" }), '"r"');
  });
  expect(wrong).toEqual(["wrong-attempt"]);
});

test("a job that has not ended at the end is found", () => {
  expect(found((checker) => checker.saw202(ask(2), "b", false))).toEqual(["unsettled"]);
});

test("a request that was never resolved is found", () => {
  expect(found((checker) => checker.sawNothing(ask(2)))).toEqual(["error"]);
});

test("more attempts than failures and losses allow are found, shutdowns apart", () => {
  const late = done("b", { status: "processing", attempt: 6 });
  const look = (checker: Checker) => {
    checker.saw202(ask(2), "b", false);
    checker.sawStatus("b", 200, late, undefined);
  };
  expect(found(look)).toContain("unbounded");
  const shutDownOnce = (checker: Checker) => {
    checker.releases++;
    look(checker);
  };
  expect(found(shutDownOnce)).not.toContain("unbounded");
});

test("a failure without a reason is found, and three losses are one", () => {
  const fail = (attempt: number, type: string) => (checker: Checker) => {
    checker.saw202(ask(2), "b", false);
    checker.sawStatus("b", 200, done("b", { status: "failed", attempt, error: { type } }), '"5"');
    checker.sawResult("b", 500, "{}", undefined);
  };
  expect(found(fail(3, "/problems/attempt-failed"))).toEqual(["wrong-outcome"]);
  expect(found(fail(2, "/problems/worker-lost"))).toEqual(["wrong-outcome"]);
  expect(found(fail(3, "/problems/worker-lost"))).toEqual([]);
});

test("another payload under a key that is taken in is found", () => {
  expect(found((checker) => checker.sawOtherPayload(ask(1), 202))).toEqual(["key-reused"]);
});

test("a job that is canceled though nobody asked for it is found", () => {
  const wrong = found((checker) => {
    checker.saw202(ask(2), "b", false);
    checker.sawStatus("b", 200, done("b", { status: "canceled" }), '"2"');
    checker.sawResult("b", 409, "{}", undefined);
  });
  expect(wrong).toEqual(["cancel"]);
});

test("a cancel that was answered 200 ends canceled", () => {
  const wrong = found((checker) => {
    checker.saw202(ask(2), "b", false);
    checker.sendsCancel("b");
    checker.sawCancel("b", 200, done("b", { status: "canceled" }));
    checker.sawRun(run("b", 1, "t2"));
    checker.sawStatus("b", 200, done("b"), '"2"');
    checker.sawResult("b", 409, "{}", undefined);
  });
  expect(wrong).toContain("changed");
});

test("a cancel that was answered 202 ends canceled or completed, and not failed", () => {
  const end = (status: string, resultStatus: number) => (checker: Checker) => {
    checker.saw202(ask(2), "b", false);
    checker.sawRun(run("b", 1, "t2"));
    checker.sendsCancel("b");
    checker.sawCancel("b", 202, null);
    checker.sawStatus("b", 200, done("b", { status }), '"2"');
    checker.sawResult("b", resultStatus, result("b", "t2"), undefined);
  };
  expect(found(end("canceled", 409))).toEqual([]);
  expect(found(end("completed", 200))).toEqual([]);
  expect(found(end("failed", 500))).toContain("cancel");
});

test("one more or one fewer than the quota is found", () => {
  expect(found((checker) => checker.sawQuota(5, 3, 4, 2))).toEqual([]);
  expect(found((checker) => checker.sawQuota(5, 3, 4, 3))).toEqual(["quota"]);
  expect(found((checker) => checker.sawQuota(5, 3, 4, 1))).toEqual(["quota"]);
});

test("a rescue that is late, or never comes, is found", () => {
  expect(found((checker) => checker.sawRescue("a", 1999, 2000))).toEqual([]);
  expect(found((checker) => checker.sawRescue("a", 2001, 2000))).toEqual(["late"]);
  expect(found((checker) => checker.sawRescue("a", null, 2000))).toEqual(["late"]);
});

test("an answer 500 is found", () => {
  expect(found((checker) => checker.sawStatus("a", 500, "", undefined))).toEqual(["error"]);
  expect(found((checker) => checker.sawRefusal(ask(2), 500))).toEqual(["error"]);
});

test("the same seed plans the same kills, another seed others", () => {
  const plan = (seed: string) =>
    Array.from({ length: 50 }, (_, cycle) => planStrike(seed, cycle, SOCKET_DECK));
  expect(plan("a")).toEqual(plan("a"));
  expect(plan("a")).not.toEqual(plan("b"));
});

test("a kill falls inside of what the writing thread had entered and not left", () => {
  expect(readDiary([]).inside).toBe("other");
  expect(readDiary(["in accept", ""]).inside).toBe("accept");
  expect(readDiary(["in accept", "out", "in settle", ""]).inside).toBe("settle");
  expect(readDiary(["in accept", "out", ""]).inside).toBe("other");
  expect(readDiary(["in accept", "died claim-before-commit", ""])).toEqual({
    inside: "accept",
    point: "claim-before-commit",
  });
});

/** A job that was accepted, repeated, run, and completed. */
function history(): Checker {
  const checker = new Checker(EXPECTATIONS);
  checker.saw202(ask(1), "a", false);
  checker.saw202(ask(1), "a", true);
  checker.sawRun(run("a", 1, "t1"));
  checker.sawStatus("a", 200, done("a", { status: "processing" }), 'W/"2"');
  checker.sawStatus("a", 200, done("a"), '"3"');
  checker.sawResult("a", 200, result("a"), '"r"');
  checker.sawStatus("a", 200, done("a"), '"3"');
  checker.sawResult("a", 200, result("a"), '"r"');
  checker.sawList("alice", [done("a")]);
  return checker;
}

/** What is found when something more happens after the sound history. */
function found(happens: (checker: Checker) => void): ViolationKind[] {
  const checker = history();
  happens(checker);
  checker.finish();
  return checker.violations.map(({ kind }) => kind);
}

function ask(number: number, key: string | null = `k${number}`): Ask {
  return { number, owner: "alice", operation: "work", key, callersId: null, tag: `t${number}` };
}

function run(job: string, attempt: number, tag: string) {
  return { job, attempt, tag, at: 0, pid: 1 };
}

function done(id: string, other: object = {}): string {
  return JSON.stringify({
    id,
    operation: "work",
    status: "completed",
    attempt: 1,
    maxAttempts: 3,
    error: null,
    ...other,
  });
}

function result(job: string, tag = "t1"): string {
  return JSON.stringify({ job, attempt: 1, tag });
}
