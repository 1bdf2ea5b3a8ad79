// Jobs as they are read: whole with their place in the line, or slim, as far as a decision needs them.

import type { Policy } from "../../core/job.ts";
import type { Moment } from "../../core/machine.ts";
import type { Digest, Sight, StoredJob } from "../store.ts";
import type { Calls } from "./calls.ts";
import { decodeJob, type Fields, hasCheckpoint, memberOf, policyOf, tokenOf } from "./codec.ts";
import { reading } from "./script.ts";
import { operationFacts, type RawFacts, waitingFor } from "./sight.ts";

const LOOK = reading(
  "look",
  `
local isAddress, isWhole = ARGV[1] == 'address', ARGV[2] == 'whole'
local found, asked, facts = {}, {}, {}
for index = 3, #ARGV do
  local member = ARGV[index]
  if isAddress then member = call('HGET', bucket('at', member), sub(member, 2)) end
  local job = member and call('HMGET', jobKey(member), 'r', 's', 'i', 'u', 'c')
  if not member or not job[1] then found[index - 2] = false
  elseif not isWhole then found[index - 2] = { member, job[1], job[2] }
  else
    local position, parked = '', ''
    if sub(job[2], 18, 18) == 'q' then
      local r = cjson.decode(job[1])
      local prio, owner, op = r[2], r[4], r[5]
      local suspect = sub(job[2], 17, 17)
      if not asked[op] then
        asked[op] = true
        facts[#facts + 1] = factsOf(op)
      end
      local rank
      if suspect ~= '0' then rank = call('ZRANK', suspectsKey(op), member)
      else
        rank = call('ZRANK', lineKey(op, prio), member)
        if rank then rank = ahead(op, prio) + rank end
      end
      if rank then position = rank + 1
      elseif call('ZSCORE', parkedKey(suspect ~= '0' and 's' or prio, op, owner), member) then parked = '1' end
    end
    found[index - 2] = { member, job[1], job[2], job[3], job[4], job[5], position, parked }
  end
end
return { found, facts }
`,
);

type RawJob = readonly [
  member: string,
  r: string,
  s: string,
  i?: string | null,
  u?: string | null,
  c?: string | null,
  position?: string | number,
  parked?: string,
];
type Reply = readonly [found: readonly (RawJob | null)[], facts: readonly RawFacts[]];

/** A job with the token of its last write. */
export interface Found {
  readonly stored: StoredJob;
  readonly token: string;
  readonly hasCheckpoint: boolean;
}

export interface Seen extends Found {
  readonly sight: Sight;
}

/** Jobs of one call: their contents may be large. */
const MOST_JOBS = 200;

/** The jobs at these addresses, null where there is none. */
export async function seeAddresses(
  calls: Calls,
  addresses: readonly Digest[],
  moment: Moment,
): Promise<(Seen | null)[]> {
  return await see(calls, "address", addresses, moment);
}

/** The jobs of these rows, null where there is none. */
export async function seeMembers(
  calls: Calls,
  members: readonly string[],
  moment: Moment,
): Promise<(Seen | null)[]> {
  return await see(calls, "row", members, moment);
}

/** Slim: without input, upload, trace and checkpoint. */
export async function findMembers(calls: Calls, members: readonly string[]): Promise<(Found | null)[]> {
  const found: (Found | null)[] = [];
  for (let at = 0; at < members.length; at += MOST_JOBS * 5) {
    const some = members.slice(at, at + MOST_JOBS * 5);
    const [raw] = (await calls.read(LOOK, ["row", "slim", ...some])) as unknown as Reply;
    found.push(...(await decodeAll(calls, raw.map(fieldsOf))));
  }
  return found;
}

/** The slim fields of these rows, as a listing needs them. */
export async function outlineMembers(
  calls: Calls,
  members: readonly string[],
): Promise<readonly (Fields | null)[]> {
  const [raw] = (await calls.read(LOOK, ["row", "slim", ...members])) as unknown as Reply;
  return raw.map(fieldsOf);
}

async function see(
  calls: Calls,
  by: "address" | "row",
  which: readonly string[],
  { now }: Moment,
): Promise<(Seen | null)[]> {
  const seen: (Seen | null)[] = [];
  for (let at = 0; at < which.length; at += MOST_JOBS) {
    const some = which.slice(at, at + MOST_JOBS);
    const [raw, rawFacts] = (await calls.read(LOOK, [by, "whole", ...some])) as unknown as Reply;
    const facts = operationFacts(rawFacts);
    const found = await decodeAll(calls, raw.map(fieldsOf));
    for (const [index, one] of found.entries()) {
      const place = raw[index]?.[6] ?? "";
      const isParked = raw[index]?.[7] === "1";
      if (one === null) seen.push(null);
      else {
        const { job } = one.stored;
        const position = place === "" ? null : Number(place);
        seen.push({ ...one, sight: { job, position, waitingFor: waitingFor(job, isParked, facts, now) } });
      }
    }
  }
  return seen;
}

function fieldsOf(raw: RawJob | null): Fields | null {
  if (raw === null) return null;
  const [member, r, s, i = null, u = null, c = null] = raw;
  return { member, r, s, i, u, c };
}

/** Policies that were not met yet are read first. */
export async function decodeAll(calls: Calls, all: readonly (Fields | null)[]): Promise<(Found | null)[]> {
  const named = (digest: string) => {
    const policy = calls.policies.get(digest);
    if (policy === undefined) throw new UnknownPolicy(digest);
    return policy;
  };
  const decode = () =>
    all.map((fields) =>
      fields === null
        ? null
        : {
            stored: decodeJob(fields, named),
            token: tokenOf(fields.s),
            hasCheckpoint: hasCheckpoint(fields.s),
          },
    );
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof UnknownPolicy)) throw error;
    const digests = new Set(all.filter((fields) => fields !== null).map(policyOf));
    const unknown = [...digests].filter((digest) => calls.policies.get(digest) === undefined);
    const texts = (await calls.command("HMGET", calls.key("policies"), ...unknown)) as (string | null)[];
    for (const [index, text] of texts.entries()) {
      if (text !== null) calls.policies.learn(unknown[index] as string, JSON.parse(text) as Policy);
    }
    return decode();
  }
}

class UnknownPolicy extends Error {
  override readonly name = "UnknownPolicy";
  constructor(digest: string) {
    super(`The policy ${digest} of a job is not there.`);
  }
}

export function membersOf(rows: readonly number[]): string[] {
  return rows.filter((row) => Number.isSafeInteger(row) && row > 0).map(memberOf);
}
