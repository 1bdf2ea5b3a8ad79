// The addresses of a name, by DNS alone: `dns.lookup` would take one of the four threads that the file system needs.

import { Resolver as DnsResolver, NODATA, NOTFOUND } from "node:dns/promises";

/** Asks DNS. Node's `dns.promises.Resolver` is one. */
export interface Resolver {
  resolve4(name: string): Promise<string[]>;
  resolve6(name: string): Promise<string[]>;
}

/** Every address that a name has now, or why none is known. */
export type Resolved =
  | { readonly kind: "addresses"; readonly addresses: readonly string[] }
  | { readonly kind: "failed"; readonly reason: "name-not-found" | "name-unavailable" };

/** A resolver that asks the servers of this machine, twice within the time that a name gets. */
export function createResolver(): Resolver {
  return new DnsResolver({ timeout: 900, tries: 2 });
}

/**
 * Asks for both kinds of address at once. Where one of the two does not answer in time the other is enough: broken AAAA
 * records are common, and each address that came is judged all the same.
 */
export async function resolveName(resolver: Resolver, name: string): Promise<Resolved> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, RESOLVE_MS, null);
  });
  const within = (asked: Promise<string[]>) => Promise.race([asked.catch(withoutAddress), late]);
  const [four, six] = await Promise.all([within(resolver.resolve4(name)), within(resolver.resolve6(name))]);
  clearTimeout(timer);
  const addresses = alternating(four ?? [], six ?? []);
  if (addresses.length > 0) return { kind: "addresses", addresses };
  return { kind: "failed", reason: four === null || six === null ? "name-unavailable" : "name-not-found" };
}

/** No address where DNS says that there is none; null where it did not come to say anything. */
function withoutAddress(error: unknown): string[] | null {
  const code = error instanceof Error && "code" in error ? error.code : null;
  return code === NOTFOUND || code === NODATA ? [] : null;
}

const RESOLVE_MS = 2_000;

/** Both kinds by turns, so that a machine that has one of the two comes to it early. */
function alternating(four: readonly string[], six: readonly string[]): string[] {
  const turns = Array.from({ length: Math.max(four.length, six.length) }, (_, at) => [four[at], six[at]]);
  return turns.flat().filter((address) => address !== undefined);
}
