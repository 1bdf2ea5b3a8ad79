import { describe, expect, it } from "vitest";
import { openMemory } from "../store/memory.ts";
import type { Answer, Query, Sight, Store, Write, Written } from "../store/store.ts";
import { modelFailure } from "./model.ts";
import type { StoreFactory } from "./store.ts";

type Writing = (write: Write, store: Store) => Promise<Written>;
type Reading = (query: Query, store: Store) => Promise<unknown>;

/** A memory store that does one thing wrong. */
function breaking(how: { readonly write?: Writing; readonly read?: Reading }): StoreFactory {
  return async ({ clock }) => {
    const store = openMemory({ clock });
    const broken: Store = {
      ...store,
      write: (async (write: Write) => how.write?.(write, store) ?? store.write(write)) as Store["write"],
      read: (async (query: Query) => how.read?.(query, store) ?? store.read(query)) as Store["read"],
    };
    return { store: broken, close: () => store.close() };
  };
}

const sightsOf = async (query: Query, store: Store) => (await store.read(query)) as readonly Sight[];

/** Each breaks one promise, and what the model must say of it. */
const CONTROLS: readonly { readonly title: string; readonly says: RegExp; readonly factory: StoreFactory }[] =
  [
    {
      title: "acknowledges before the commit",
      says: /A1, A5: row \d+ is not there any more/,
      async factory({ clock }) {
        const store = openMemory({ clock });
        let last = 0;
        const lost = new Set<number>();
        const broken: Store = {
          ...store,
          close: async () => {},
          async write(write) {
            const written = await store.write(write);
            const isNew = "did" in written && written.did === "submit" && !written.replayed;
            if (isNew) last = written.job.row;
            return written;
          },
          async read<Q extends Query>(query: Q) {
            const answer = await store.read(query);
            if (query.get !== "rows") return answer;
            const sights = answer as unknown as readonly Sight[];
            return sights.filter(({ job }) => !lost.has(job.row)) as unknown as Answer<Q>;
          },
        };
        const reopen = async () => {
          lost.add(last);
          return broken;
        };
        return { store: broken, reopen, crash: reopen, close: () => store.close() };
      },
    },
    {
      title: "forgets a key",
      says: /B1: the repeat of row \d+|B3: the same key/,
      factory: breaking({
        write: (write, store) =>
          store.write(
            write.do === "submit" && write.sameness?.reach === "life" ? { ...write, sameness: null } : write,
          ),
      }),
    },
    {
      title: "looks for the key, and then, in another transaction, inserts",
      says: /B1: the repeat of row \d+|B3: the same key/,
      factory: breaking({
        async write(write, store) {
          if (write.do !== "submit" || write.sameness === null) return store.write(write);
          const found = await store.write({ ...write, onlyRepeat: true });
          await new Promise((done) => setImmediate(done));
          if (!("refused" in found) || found.refused !== "not-found") return found;
          return store.write({ ...write, sameness: null, idFingerprint: null });
        },
      }),
    },
    {
      title: "settles without the attempt's check",
      says: /C2: attempt \d+ of row \d+ is over/,
      factory: breaking({
        async write(write, store) {
          if (write.do !== "settle") return store.write(write);
          const [sight] = await store.read({ get: "rows", rows: [write.row] });
          return store.write({ ...write, attempt: sight?.job.attempt ?? 0 });
        },
      }),
    },
    {
      title: "takes heartbeats of an attempt that was given up",
      says: /C2: attempt \d+ of row \d+ is over/,
      factory: breaking({
        async write(write, store) {
          const written = await store.write(write);
          if (write.do !== "heartbeat" || !("refused" in written)) return written;
          return { did: "keep", status: "processing", leaseUntil: 0, cancel: false };
        },
      }),
    },
    {
      title: "gives a job to two workers",
      says: /C1: a claim got row \d+, which is processing/,
      factory: breaking({
        async write(write, store) {
          const written = await store.write(write);
          if (!("did" in written) || written.did !== "claim" || written.jobs.length > 0) return written;
          const sights = await store.read({ get: "stored", afterRow: 0, limit: 1000 });
          const [running] = sights.filter(({ job }) => job.status === "processing").map(({ job }) => job);
          if (write.do !== "claim" || running === undefined || write.limit === 0) return written;
          return { ...written, jobs: [{ ...running, worker: write.worker }] };
        },
      }),
    },
    {
      title: "tells a wrong place",
      says: /The places in the line of operation/,
      factory: breaking({
        async read(query, store) {
          if (query.get !== "rows") return store.read(query);
          const sights = await sightsOf(query, store);
          return sights.map((sight) => ({ ...sight, position: sight.position === 3 ? 4 : sight.position }));
        },
      }),
    },
    {
      title: "gives the last in the line before the first",
      says: /was taken|in another order|runs more than he may/,
      factory: breaking({
        async write(write, store) {
          if (write.do === "submit")
            return store.write({
              ...write,
              submission: { ...write.submission, policy: { ...write.submission.policy, weight: 1 } },
            });
          const written = await store.write(write);
          if (!("did" in written) || written.did !== "claim") return written;
          return { ...written, jobs: [...written.jobs].reverse() };
        },
      }),
    },
    {
      title: "gives a sequence twice",
      says: /The feed goes on with/,
      factory: breaking({
        async read(query, store) {
          if (query.get !== "events") return store.read(query);
          const events = await store.read(query);
          return events.map((event, index) => (index === 2 ? { ...event, seq: event.seq - 1 } : event));
        },
      }),
    },
    {
      title: "lets one job more than the quota in",
      says: /D4: as many active jobs as the owner may have/,
      factory: breaking({
        write: (write, store) => {
          if (write.do !== "submit" || write.limits.active === null) return store.write(write);
          return store.write({ ...write, limits: { ...write.limits, active: write.limits.active + 1 } });
        },
      }),
    },
    {
      title: "rescues work that was settled",
      says: /Row \d+: its (?:status|revision)|C3/,
      factory: breaking({
        async read(query, store) {
          if (query.get !== "rows") return store.read(query);
          const sights = await sightsOf(query, store);
          return sights.map((sight) => {
            const { job } = sight;
            if (job.crashes === 0 || job.status !== "completed") return sight;
            return { ...sight, job: { ...job, status: "failed" } };
          });
        },
      }),
    },
    {
      title: "leaves a lapsed lease alone",
      says: /C5: the lapsed row \d+ was not rescued|missed its start, and no sweep failed it/,
      factory: breaking({
        async write(write, store) {
          const all = await store.read({ get: "stored", afterRow: 0, limit: 1000 });
          if (write.do !== "sweep" || !all.some(({ job }) => job.status === "processing"))
            return store.write(write);
          return { did: "sweep", changed: 0, gone: [], more: false };
        },
      }),
    },
    {
      title: "runs more of an owner's jobs at once than it may",
      says: /An owner runs more than he may/,
      factory: breaking({
        write: (write, store) => {
          if (write.do !== "submit") return store.write(write);
          const { submission } = write;
          return store.write({
            ...write,
            submission: { ...submission, policy: { ...submission.policy, running: null } },
          });
        },
      }),
    },
  ];

describe("the model finds a store that", () => {
  for (const { title, says, factory } of CONTROLS) {
    it(`${title}`, async () => {
      const failure = await modelFailure(factory, { runs: 300, shorten: false });
      // Of writes that were given at once, the sentence is that of one order of several.
      expect(failure).toMatch(new RegExp(`${says.source}|^No order of \\d writes explains it`));
      expect(failure).toMatch(/COATCHECK_MODEL_SEED=-?\d+ COATCHECK_MODEL_PATH=\d+ /);
    });
  }

  it("fails only now and then, again by its seed and path", async () => {
    const factory = breaking({
      write: (write, store) =>
        store.write(write.do === "submit" && write.sameness !== null ? { ...write, sameness: null } : write),
    });
    const failure = (await modelFailure(factory, { runs: 300 })) ?? "";
    const [, seed, path] = /SEED=(\S+) COATCHECK_MODEL_PATH=(\S+)/.exec(failure) ?? [];
    const again = await modelFailure(factory, {
      runs: 1,
      seed: Number(seed),
      path: path ?? "",
      shorten: false,
    });
    const sentence = (text: string | null) => text?.split("\n")[0]?.replace(/\d+/g, "n");
    expect(sentence(again)).toBe(sentence(failure));
  });
});
