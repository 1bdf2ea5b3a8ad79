import type { Agent, ClientRequestArgs } from "node:http";
import { Socket } from "node:net";
import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { RequestFilteringHttpAgent } from "request-filtering-agent";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { embedIpv4, PUBLIC, SPECIAL_IPV4, SPECIAL_IPV6 } from "../../../test/addresses.ts";
import { createAddressJudge, isSameAddress } from "./address.ts";

const judge = createAddressJudge();
const FOUR = Object.values(SPECIAL_IPV4).flat();
const SPECIAL = [...FOUR, ...Object.values(SPECIAL_IPV6).flat(), ...FOUR.flatMap(embedIpv4)];

describe("without an operator's word", () => {
  it.each(Object.entries({ ...SPECIAL_IPV4 }))(
    "no IPv4 address that is %s may be called",
    (_what, addresses) => {
      for (const address of addresses) expect(judge(address), address).not.toBeNull();
    },
  );

  it.each(Object.entries({ ...SPECIAL_IPV6 }))(
    "no IPv6 address that is %s may be called",
    (_what, addresses) => {
      for (const address of addresses) expect(judge(address), address).not.toBeNull();
    },
  );

  it("no IPv6 address that leads to such an IPv4 address may be called", () => {
    for (const address of FOUR.flatMap(embedIpv4)) expect(judge(address), address).not.toBeNull();
  });

  it("public addresses may be called, up to the edges of what is not", () => {
    for (const address of PUBLIC) expect(judge(address), address).toBeNull();
  });

  it("what is no address in its plain notation, or names an interface, is none", () => {
    for (const text of [
      "",
      "example.com",
      "8.8.8",
      "134744072",
      "0x8.8.8.8",
      "8.8.8.8%1",
      "2a00::1%eth0",
      "::8.8.8.8",
      "[2a00::1]",
      " 8.8.8.8",
    ])
      expect(judge(text), text).not.toBeNull();
  });
});

describe("what an operator allows", () => {
  it("may be called: a range, and an address on its own", () => {
    const opened = createAddressJudge(["10.1.0.0/16", "192.168.1.7", "fd12::/16", "::1/128"]);
    for (const address of ["10.1.0.0", "10.1.255.255", "192.168.1.7", "fd12::9", "::1"])
      expect(opened(address), address).toBeNull();
    for (const address of ["10.0.255.255", "10.2.0.0", "192.168.1.8", "fd13::1", "127.0.0.1", "::"])
      expect(opened(address), address).not.toBeNull();
  });

  it("opens no metadata service by a range, only by its own address", () => {
    const wide = createAddressJudge(["0.0.0.0/0", "::/0"]);
    for (const address of [...SPECIAL_IPV4.metadata!, ...SPECIAL_IPV6.metadata!])
      expect(wide(address), address).not.toBeNull();
    expect(createAddressJudge(["100.100.100.200/32"])("100.100.100.200")).toBeNull();
    expect(createAddressJudge(["fd00:ec2::254"])("fd00:ec2::254")).toBeNull();
  });

  it("never opens multicast, broadcast and the unspecified address", () => {
    const wide = createAddressJudge(["0.0.0.0/0", "::/0", "255.255.255.255", "::", "0.0.0.0"]);
    for (const address of [
      "0.0.0.0",
      "0.1.2.3",
      "::",
      "224.0.0.1",
      "ff02::1",
      "255.255.255.255",
      "::ffff:0.0.0.0",
    ])
      expect(wide(address), address).not.toBeNull();
    expect(wide("127.0.0.1")).toBeNull();
  });

  it("opens a translator's prefix for what is public behind it, and for nothing else", () => {
    const opened = createAddressJudge([
      "64:ff9b::/96",
      "64:ff9b:1::/48",
      "2002::/16",
      "2001::/32",
      "::/96",
      "::ffff:0:0:0/96",
    ]);
    for (const address of FOUR.flatMap(embedIpv4)) expect(opened(address), address).not.toBeNull();
    for (const address of ["64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8", "2002:808:808::1"])
      expect(opened(address), address).toBeNull();
    const wide = createAddressJudge(["::/0"]);
    expect([wide("::ffff:10.0.0.1"), wide("::ffff:8.8.8.8")]).toEqual([expect.any(String), null]);
    const both = createAddressJudge(["64:ff9b::/96", "10.0.0.0/8"]);
    expect(both("64:ff9b::10.0.0.1")).toBeNull();
    expect(both("64:ff9b::192.168.0.1")).not.toBeNull();
  });

  it("is refused at the start where it is not an address or a range, in a sentence that names it", () => {
    for (const text of [
      "",
      "intern",
      "10.0.0.0/33",
      "10.0.0.0/",
      "10.0.0.0/8/8",
      "10/8",
      "fd00::/129",
      "10.0.0.1/8",
      "fd00::1/8",
      "fe80::1%1",
      "::ffff:10.0.0.0/104",
      "10.0.0.0/-1",
      "0x7f.0.0.1",
    ])
      expect(() => createAddressJudge([text]), text).toThrow(
        new RegExp(`^"${text.replaceAll(/[/.]/g, "\\$&")}" can't be allowed`),
      );
  });
});

it("two notations of one address are the same, and nothing else is", () => {
  expect(isSameAddress("127.0.0.1", "::ffff:127.0.0.1")).toBe(true);
  expect(isSameAddress("2A00:0:0::1", "2a00::1")).toBe(true);
  for (const [one, other] of [
    ["127.0.0.1", "127.0.0.2"],
    ["::1", "127.0.0.1"],
    ["", ""],
    ["::127.0.0.1", "127.0.0.1"],
    ["::", "0.0.0.0"],
  ] as const)
    expect(isSameAddress(one, other)).toBe(false);
});

describe("beside request-filtering-agent", () => {
  // It never comes to a connection: this only looks at whom it would let through.
  beforeEach(() => {
    vi.spyOn(Socket.prototype, "connect").mockReturnThis();
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const theirs = new RequestFilteringHttpAgent();
  const theyBlock = (host: string): boolean => {
    let blocked = false;
    const options: ClientRequestArgs = { host, port: 1 };
    // The literal takes the same way as in a request; its error comes at once.
    (
      theirs as Agent & { createConnection(options: object, listener: (error?: Error) => void): void }
    ).createConnection(options, (error) => {
      blocked ||= error instanceof Error;
    });
    return blocked;
  };

  it("blocks all that it blocks", () => {
    for (const address of SPECIAL) if (theyBlock(address)) expect(judge(address), address).not.toBeNull();
    const byte = fc.integer({ min: 0, max: 255 });
    const four = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join("."));
    const six = fc
      .array(fc.oneof(fc.constant(0), fc.constant(0xffff), fc.integer({ min: 0, max: 0xffff })), {
        minLength: 8,
        maxLength: 8,
      })
      .map((groups) => groups.map((group) => group.toString(16)).join(":"));
    const near = fc
      .tuple(fc.constantFrom(...SPECIAL), fc.nat({ max: 15 }), fc.nat({ max: 7 }))
      .map(([address, at, bit]) => flipped(address, at, bit));
    fc.assert(
      fc.property(fc.oneof(four, six, near), (address) => {
        if (theyBlock(address)) expect(judge(address)).not.toBeNull();
      }),
      { numRuns: 2_000 },
    );
  });

  it("blocks more than it does: Azure's host, IPv4-compatible addresses, and what is nobody's", () => {
    const more = SPECIAL.filter((address) => !theyBlock(address));
    expect(more).toContain("168.63.129.16");
    expect(more).toContain("0:0:0:0:0:0:7f00:1");
    expect(more).toContain("0:0:0:0:0:0:a9fe:a9fe");
    const others = more.filter((address) => {
      const known = address === "168.63.129.16" || SPECIAL_IPV6["nobody's"]!.includes(address);
      return !known && !ipaddr.parse(address).match(ipaddr.parseCIDR("::/96"));
    });
    expect(others).toEqual([]);
  });
});

function flipped(address: string, at: number, bit: number): string {
  const bytes = ipaddr.parse(address).toByteArray();
  const index = at % bytes.length;
  bytes[index] = (bytes[index] as number) ^ (1 << bit);
  return ipaddr.fromByteArray(bytes).toNormalizedString();
}
