import fc from "fast-check";
import { expect, test } from "vitest";
import { type Bucket, type RatePolicy, rateLimit, rateLimitPolicy, take } from "./rate-limit.ts";

const start = 1_750_000_000_000;
const policies: fc.Arbitrary<RatePolicy> = fc.record({
  name: fc.constant("burst"),
  quota: fc.integer({ min: 1, max: 150 }),
  windowSeconds: fc.integer({ min: 1, max: 86_400 }),
});

/** Takes until refused; answers the bucket and how many were allowed. */
function drain(policy: RatePolicy, now: number, from?: Bucket): { bucket: Bucket; allowed: number } {
  let bucket = from;
  for (let allowed = 0; ; allowed++) {
    const taken = take(bucket, policy, now);
    if (!taken.allowed) return { bucket: taken.bucket, allowed };
    if (taken.retryAfterSeconds !== 0) throw new Error("an allowed request was told to wait");
    bucket = taken.bucket;
  }
}

test("a rested owner may send exactly the quota at once, however odd the numbers", () => {
  fc.assert(
    fc.property(policies, (policy) => {
      expect(drain(policy, start).allowed).toBe(policy.quota);
    }),
  );
});

test("after any time exactly what the time refilled is allowed", () => {
  fc.assert(
    fc.property(policies, fc.array(fc.nat({ max: 100_000 }), { maxLength: 10 }), (policy, pauses) => {
      const windowMs = policy.windowSeconds * 1000;
      let { bucket } = drain(policy, start);
      let now = start;
      let fraction = 0; // of a request, in units of 1/windowMs
      for (const pause of pauses) {
        now += pause;
        const due = Math.min(policy.quota * windowMs, fraction + pause * policy.quota);
        const again = drain(policy, now, bucket);
        expect(again.allowed).toBe(Math.floor(due / windowMs));
        fraction = due % windowMs;
        bucket = again.bucket;
      }
    }),
  );
});

test("a refused request is allowed after its Retry-After, and its Retry-After is no whole second too long", () => {
  fc.assert(
    fc.property(policies, fc.nat({ max: 100_000 }), (policy, pause) => {
      const { bucket } = drain(policy, start);
      const { bucket: later } = drain(policy, start + pause, bucket);
      const refused = take(later, policy, start + pause);
      expect(refused.allowed).toBe(false);
      expect(refused.remaining).toBe(0);
      expect(refused.retryAfterSeconds).toBeGreaterThanOrEqual(1);
      const then = start + pause + refused.retryAfterSeconds * 1000;
      expect(take(refused.bucket, policy, then).allowed).toBe(true);
      if (refused.retryAfterSeconds > 1)
        expect(take(refused.bucket, policy, then - 1000).allowed).toBe(false);
    }),
  );
});

test("the whole quota is there again after resetSeconds", () => {
  fc.assert(
    fc.property(policies, fc.integer({ min: 1, max: 1000 }), (policy, cost) => {
      const taken = take(undefined, policy, start, Math.min(cost, policy.quota));
      const rested = take(taken.bucket, policy, start + taken.resetSeconds * 1000, policy.quota);
      expect(rested.allowed).toBe(true);
      expect(rested.remaining).toBe(0);
    }),
  );
});

test("a clock that steps back a day locks nobody out for longer than one window", () => {
  fc.assert(
    fc.property(policies, (policy) => {
      const { bucket } = drain(policy, start);
      const back = start - 86_400_000;
      const refused = take(bucket, policy, back);
      expect(refused.allowed).toBe(false);
      expect(refused.retryAfterSeconds).toBeLessThanOrEqual(policy.windowSeconds);
      const rested = take(refused.bucket, policy, back + policy.windowSeconds * 1000, policy.quota);
      expect(rested.allowed).toBe(true);
    }),
  );
});

test("a refusal spends nothing and a cost above the quota is never allowed", () => {
  const policy = { name: "burst", quota: 10, windowSeconds: 60 };
  const dear = take(undefined, policy, start, 11);
  expect(dear).toMatchObject({ allowed: false, remaining: 10, resetSeconds: 0, retryAfterSeconds: 6 });
  expect(take(dear.bucket, policy, start, 10)).toMatchObject({
    allowed: true,
    remaining: 0,
    resetSeconds: 60,
  });
});

test("a bucket of a larger policy that was since made smaller is full again after one window", () => {
  const { bucket } = drain({ name: "burst", quota: 1000, windowSeconds: 3600 }, start);
  const small = { name: "burst", quota: 5, windowSeconds: 60 };
  expect(take(bucket, small, start)).toMatchObject({ allowed: false, resetSeconds: 60 });
  expect(take(bucket, small, start + 60_000, 5).allowed).toBe(true);
});

test("the fields read as in the draft", () => {
  const burst = { name: "burst", quota: 100, windowSeconds: 60 };
  const daily = { name: 'da"ily', quota: 5000, windowSeconds: 86_400 };
  expect(rateLimitPolicy([burst])).toBe('"burst";q=100;w=60');
  expect(rateLimitPolicy([burst, daily])).toBe('"burst";q=100;w=60, "da\\"ily";q=5000;w=86400');
  expect(rateLimit([{ name: "burst", remaining: 50, resetSeconds: 30 }])).toBe('"burst";r=50;t=30');
  const states = [
    { name: "burst", remaining: 0, resetSeconds: 60 },
    { name: "daily", remaining: 9, resetSeconds: 1 },
  ];
  expect(rateLimit(states)).toBe('"burst";r=0;t=60, "daily";r=9;t=1');
  expect(() => rateLimitPolicy([{ ...burst, name: "bürst" }])).toThrow(RangeError);
});
