// The rate limit of submits and the fields that tell of it (draft-ietf-httpapi-ratelimit-headers-10).

/** So many requests per window, refilled evenly: a full bucket of `quota` at rest. */
export interface RatePolicy {
  /** How the fields name it; printable ASCII. */
  readonly name: string;
  /** A whole number of at least 1. */
  readonly quota: number;
  /** A whole number of at least 1. */
  readonly windowSeconds: number;
}

/** What is left of a policy. */
export interface RateState {
  readonly name: string;
  readonly remaining: number;
  /** Until the whole quota is there again. */
  readonly resetSeconds: number;
}

/** What one owner has spent of a policy. Plain data, to be kept by whoever calls `take`. */
export interface Bucket {
  /**
   * The spent quota, in requests × the window's milliseconds. In this unit a request costs a whole number and a
   * millisecond refills a whole number, so the count is exact for ever.
   */
  readonly spent: number;
  /** When `spent` was true, in ms since 1970. */
  readonly at: number;
}

/** The judgement of one request. */
export interface Taken {
  /** To be kept in place of the one that was given, also after a refusal. */
  readonly bucket: Bucket;
  readonly allowed: boolean;
  /** Whole requests that are left. */
  readonly remaining: number;
  /** Until the whole quota is there again, rounded up. */
  readonly resetSeconds: number;
  /** Until this request would be allowed: 0 when it was, else at least 1, rounded up. */
  readonly retryAfterSeconds: number;
}

/**
 * Takes `cost` requests out of a bucket, or none when they are not there. Without a bucket the quota is whole. A clock
 * that steps backwards only fails to refill the bucket for that one call, so nobody is locked out for longer than one
 * window. A cost above the quota is never allowed.
 *
 * @param now in whole ms since 1970
 */
export function take(bucket: Bucket | undefined, policy: RatePolicy, now: number, cost = 1): Taken {
  const windowMs = policy.windowSeconds * 1000;
  const whole = policy.quota * windowMs;
  let spent = bucket === undefined ? 0 : refilled(bucket, policy.quota, windowMs, now);
  const wanted = spent + cost * windowMs;
  const allowed = wanted <= whole;
  if (allowed) spent = wanted;
  return {
    bucket: { spent, at: now },
    allowed,
    remaining: Math.floor((whole - spent) / windowMs),
    resetSeconds: Math.ceil(spent / policy.quota / 1000),
    retryAfterSeconds: allowed ? 0 : retryAfter(wanted - whole, policy),
  };
}

/** `RateLimit-Policy`, such as `"burst";q=100;w=60`; several policies are separated by commas. */
export function rateLimitPolicy(policies: readonly RatePolicy[]): string {
  let field = "";
  for (const policy of policies) {
    if (field !== "") field += ", ";
    field += `${quoted(policy.name)};q=${policy.quota};w=${policy.windowSeconds}`;
  }
  return field;
}

/** `RateLimit`, such as `"burst";r=50;t=30`; several states are separated by commas. */
export function rateLimit(states: readonly RateState[]): string {
  let field = "";
  for (const state of states) {
    if (field !== "") field += ", ";
    field += `${quoted(state.name)};r=${state.remaining};t=${state.resetSeconds}`;
  }
  return field;
}

function refilled(bucket: Bucket, quota: number, windowMs: number, now: number): number {
  // A window refills everything; the bound keeps the product exact however long the bucket lay idle.
  const elapsedMs = Math.min(windowMs, Math.max(0, now - bucket.at));
  // Bounded above as well: the policy may have become smaller since.
  return Math.max(0, Math.min(quota * windowMs, bucket.spent) - elapsedMs * quota);
}

function retryAfter(missing: number, policy: RatePolicy): number {
  return Math.min(policy.windowSeconds, Math.max(1, Math.ceil(missing / policy.quota / 1000)));
}

const UNSAFE = /[^ -~]/;
const NEEDS_ESCAPE = /["\\]/;

/** An sf-string (RFC 8941 §3.3.3). */
function quoted(name: string): string {
  if (UNSAFE.test(name)) throw new RangeError("The name of a rate limit policy must be printable ASCII.");
  return NEEDS_ESCAPE.test(name) ? `"${name.replaceAll(/["\\]/g, "\\$&")}"` : `"${name}"`;
}
