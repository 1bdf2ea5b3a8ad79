// Which addresses may be called: the judgement of one IP address, whatever notation it came in.

import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

type Parsed = ipaddr.IPv4 | ipaddr.IPv6;
type Range = readonly [Parsed, number];

/** Says of an address why it may not be called, in one sentence without the address; null where it may be. */
export type AddressJudge = (address: string) => string | null;

/**
 * Makes the judge. By default only what is unicast and public may be called.
 *
 * @param allow addresses and CIDRs that may be called although they are not public, such as `10.1.0.0/16`. A range never
 * opens the addresses of cloud metadata services: those have to be named one by one. Nothing opens multicast, broadcast and
 * the unspecified address. Throws a `TypeError` in one sentence where an entry is none.
 */
export function createAddressJudge(allow: readonly string[] = []): AddressJudge {
  const allowed = allow.map(readRange);
  return (address) => {
    // Zone ids (`fe80::1%eth0`) name an interface of this machine, and `isIP` takes them.
    if (isIP(address) === 0 || address.includes("%")) return "It is not an IP address.";
    const parsed = ipaddr.parse(plain(address));
    const refused = judge(parsed, allowed);
    if (refused !== null) return refused;
    // Who opens a translator's prefix (or all of IPv6, and so the IPv4-mapped addresses) opens the way to it, not to what is private behind it.
    const behind = embedded(parsed);
    return behind === null ? null : judge(behind, allowed);
  };
}

/** Whether two notations are of one address; an IPv4-mapped address is that IPv4 address. */
export function isSameAddress(one: string, other: string): boolean {
  if (isIP(one) === 0 || isIP(other) === 0) return false;
  const [left, right] = [one, other].map((text) => ipaddr.process(plain(text)).toNormalizedString());
  return left === right;
}

/** Nobody answers there, or many do. A connection to 0.0.0.0 ends at this machine. */
const NEVER: ReadonlySet<string> = new Set(["unspecified", "multicast", "broadcast"]);

/** What hands out credentials to whoever asks from inside a cloud. */
const METADATA: readonly Parsed[] = [
  "169.254.169.254", // AWS, Azure, Google, Oracle and most others
  "169.254.170.2", // AWS ECS tasks
  "169.254.170.23", // AWS EKS pods
  "168.63.129.16", // Azure's host; public by its number
  "100.100.100.200", // Alibaba
  "192.0.0.192", // Oracle, classic
  "fd00:ec2::254", // AWS
  "fd00:ec2::23", // AWS EKS pods
  "fd20:ce::254", // Google
].map((address) => ipaddr.parse(address));

/** What translates and tunnels to IPv4. ipaddr.js knows most of these ranges by now; that is not to depend on its version. */
const DENIED: readonly Range[] = [
  "::/96", // IPv4-compatible
  "::ffff:0:0/96", // IPv4-mapped: whoever means the IPv4 address writes that
  "64:ff9b::/96", // NAT64
  "64:ff9b:1::/48", // NAT64 of local use
  "2001::/32", // Teredo
  "2002::/16", // 6to4
].map((cidr) => ipaddr.parseCIDR(cidr));

/** All of IPv6's global unicast (RFC 4291 §2.4, as IANA assigns it); what lies outside is special or nobody's. */
const GLOBAL: Range = ipaddr.parseCIDR("2000::/3");

function judge(address: Parsed, allowed: readonly Range[]): string | null {
  const range: string = address.range();
  if (NEVER.has(range)) return "The address is not one host's.";
  if (METADATA.some((other) => isIn(address, [other, lengthOf(other)]))) {
    const named = allowed.some((cidr) => cidr[1] === lengthOf(cidr[0]) && isIn(address, cidr));
    return named ? null : "The address is a cloud's metadata service.";
  }
  if (allowed.some((cidr) => isIn(address, cidr))) return null;
  const isPublic = range === "unicast" && (address.kind() === "ipv4" || isIn(address, GLOBAL));
  return isPublic && !DENIED.some((cidr) => isIn(address, cidr)) ? null : "The address is not public.";
}

/** The IPv4 address that a translator or tunnel would call; null where there is none. */
function embedded(address: Parsed): ipaddr.IPv4 | null {
  if (address.kind() === "ipv4") return null;
  const bytes = address.toByteArray();
  const at = (first: number) => new ipaddr.IPv4(bytes.slice(first, first + 4));
  const isBelow = (cidr: string) => isIn(address, ipaddr.parseCIDR(cidr));
  if (isBelow("2002::/16")) return at(2);
  // Teredo keeps the client's address with every bit flipped (RFC 4380 §4).
  if (isBelow("2001::/32")) return new ipaddr.IPv4(bytes.slice(12).map((byte) => byte ^ 0xff));
  const isLast = ["::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"].some(
    isBelow,
  );
  return isLast && !isBelow("::1/128") ? at(12) : null;
}

/** In hexadecimal groups: ipaddr.js takes `::10.0.0.1` for an IPv4-mapped address, and the kernel does not. */
function plain(address: string): string {
  return isIP(address) === 6 ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
}

function isIn(address: Parsed, [network, bits]: Range): boolean {
  return address.kind() === network.kind() && address.match([network, bits]);
}

function lengthOf(address: Parsed): number {
  return address.kind() === "ipv4" ? 32 : 128;
}

function readRange(text: string): Range {
  const [address = "", bits, ...more] = text.split("/");
  const isRead = isIP(address) !== 0 && !address.includes("%") && more.length === 0;
  if (!isRead || (bits !== undefined && !/^\d{1,3}$/.test(bits))) throw notRange(text);
  const network = ipaddr.parse(address);
  const length = bits === undefined ? lengthOf(network) : Number(bits);
  if (length > lengthOf(network)) throw notRange(text);
  if (network.kind() === "ipv6" && network.range() === "ipv4Mapped") {
    throw new TypeError(`"${text}" can't be allowed: write it as an IPv4 range.`);
  }
  // 10.1.2.3/8 is a slip of which nobody knows whether it means one address or sixteen million.
  const first =
    network.kind() === "ipv4"
      ? ipaddr.IPv4.networkAddressFromCIDR(`${address}/${length}`)
      : ipaddr.IPv6.networkAddressFromCIDR(`${address}/${length}`);
  if (first.toNormalizedString() !== network.toNormalizedString()) {
    throw new TypeError(`"${text}" can't be allowed: the address has bits beyond its prefix.`);
  }
  return [network, length];
}

function notRange(text: string): TypeError {
  return new TypeError(`"${text}" can't be allowed: it is neither an IP address nor a CIDR.`);
}
