// The addresses that must not be called from outside, in every notation that some parser takes for them.
import ipaddr from "ipaddr.js";

/** IPv4 addresses that are not public, by what they are. */
export const SPECIAL_IPV4: Readonly<Record<string, readonly string[]>> = {
  loopback: ["127.0.0.1", "127.0.0.2", "127.255.255.254"],
  unspecified: ["0.0.0.0", "0.1.2.3"],
  private: ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"],
  "link-local": ["169.254.0.1", "169.254.255.255"],
  metadata: ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192"],
  "carrier-grade NAT": ["100.64.0.1", "100.127.255.255"],
  "protocol assignments": ["192.0.0.1", "192.0.0.170"],
  documentation: ["192.0.2.1", "198.51.100.1", "203.0.113.255"],
  benchmarking: ["198.18.0.1", "198.19.255.255"],
  relays: ["192.88.99.1", "192.52.193.1", "192.31.196.1", "192.175.48.1"],
  multicast: ["224.0.0.1", "239.255.255.255"],
  reserved: ["240.0.0.1", "255.255.255.254"],
  broadcast: ["255.255.255.255"],
};

/** IPv6 addresses that are not public, by what they are. */
export const SPECIAL_IPV6: Readonly<Record<string, readonly string[]>> = {
  loopback: ["::1"],
  unspecified: ["::"],
  "link-local": ["fe80::1", "fe80::a9fe:a9fe", "febf:ffff::1"],
  "site-local": ["fec0::1", "feff::1"],
  "unique local": ["fc00::1", "fd12:3456:789a::1"],
  metadata: ["fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"],
  multicast: ["ff02::1", "ff05::2", "ff0e::1"],
  documentation: ["2001:db8::1", "3fff::1"],
  benchmarking: ["2001:2::1"],
  discard: ["100::1"],
  "protocol assignments": [
    "2001:1::1",
    "2001:10::1",
    "2001:20::1",
    "2001:30::1",
    "2001:4:112::1",
    "2620:4f:8000::1",
  ],
  "segment routing": ["5f00::1"],
  "mapped, NAT64, 6to4, Teredo": [
    "::ffff:808:808",
    "64:ff9b::808:808",
    "64:ff9b:1::808:808",
    "2002:808:808::1",
    "2001:0:808:808::1",
  ],
  "nobody's": ["::2", "1::1", "200::1", "4000::1", "8000::1", "c000::1", "e000::1", "fe00::1"],
};

/** Addresses just outside of the above: whoever blocks everything fails here. */
export const PUBLIC: readonly string[] = [
  "1.1.1.1",
  "8.8.8.8",
  "9.255.255.255",
  "11.0.0.0",
  "100.63.255.255",
  "100.128.0.0",
  "126.255.255.255",
  "128.0.0.0",
  "168.63.129.15",
  "169.253.255.255",
  "169.255.0.0",
  "172.15.255.255",
  "172.32.0.0",
  "192.167.255.255",
  "192.169.0.0",
  "198.17.255.255",
  "198.20.0.0",
  "223.255.255.255",
  "2001:4860:4860::8888",
  "2606:4700:4700::1111",
  "2a00:1450::1",
  "3ffe::1",
];

/** An IPv4 address as hosts of URLs that a WHATWG parser takes for it. */
export function spellIpv4(address: string): string[] {
  const bytes = ipaddr.parse(address).toByteArray() as [number, number, number, number];
  const [a, b, c, d] = bytes;
  const whole = a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d;
  const hex = (value: number) => `0x${value.toString(16)}`;
  const octal = (value: number) => `0${value.toString(8)}`;
  const digits = (zero: number) =>
    address.replaceAll(/\d/g, (digit) => String.fromCodePoint(zero + Number(digit)));
  return [
    address,
    `${address}.`,
    `${whole}`,
    `${whole}.`,
    hex(whole),
    hex(whole).toUpperCase(),
    `0x000000${whole.toString(16)}`,
    octal(whole),
    `000000${whole.toString(8)}`,
    bytes.map(hex).join("."),
    bytes.map(octal).join("."),
    bytes.map((byte) => `000${octal(byte)}`).join("."),
    `${hex(a)}.${octal(b)}.${c}.${hex(d)}`,
    `${a}.${b}.${c * 256 + d}`,
    `${a}.${(b * 256 + c) * 256 + d}`,
    `${hex(a)}.${octal((b * 256 + c) * 256 + d)}`,
    // Digits and dots that IDNA maps to plain ones: full-width, mathematical, circled, ideographic.
    digits(0xff10),
    digits(0x1d7ce),
    digits(0x1d7f6),
    address.replaceAll(/\d/g, (digit) => "⓪①②③④⑤⑥⑦⑧⑨"[Number(digit)] as string),
    address.replaceAll(".", "。"),
    address.replaceAll(".", "．"),
    address.replaceAll(".", "｡"),
    // Soft hyphens and joiners vanish.
    address.replace(".", "\u00ad."),
    address.replace(".", "\u200b."),
    percent(address),
    address.replaceAll(".", "%2e"),
    address.replaceAll(".", "%E3%80%82"),
    `${address.replace(".", "\t.")}`,
  ];
}

/** The addresses of IPv6 that lead to an IPv4 address by mapping, translation or tunnel. */
export function embedIpv4(address: string): string[] {
  const [a, b, c, d] = ipaddr.parse(address).toByteArray() as [number, number, number, number];
  const group = (one: number, other: number) => (one * 256 + other).toString(16);
  const [high, low] = [group(a, b), group(c, d)];
  const flipped = [group(a ^ 255, b ^ 255), group(c ^ 255, d ^ 255)].join(":");
  return [
    `::ffff:${address}`,
    `::ffff:${high}:${low}`,
    `0:0:0:0:0:ffff:${high}:${low}`,
    `0000:0000:0000:0000:0000:FFFF:${address}`,
    `::${address}`,
    `0:0:0:0:0:0:${high}:${low}`,
    `::ffff:0:${address}`,
    `64:ff9b::${address}`,
    `64:ff9b::${high}:${low}`,
    `64:ff9b:1::${address}`,
    `64:ff9b:1:${high}:0:${low}::`,
    `2002:${high}:${low}::1`,
    `2002:${high}:${low}:0:0:0:${high}:${low}`,
    `2001:0:808:808:0:0:${flipped}`,
    `2001:0:${high}:${low}:8000:f227:${flipped}`,
  ];
}

/** An IPv6 address as hosts of URLs; those with a zone are hosts to some parsers only. */
export function spellIpv6(address: string): string[] {
  const groups = ipaddr.parse(address).toNormalizedString().split(":");
  return [
    `[${address}]`,
    `[${address.toUpperCase()}]`,
    `[${groups.join(":")}]`,
    `[${groups.map((group) => group.padStart(4, "0")).join(":")}]`,
    `[${address}%25eth0]`,
    `[${address}%eth0]`,
    `[${address}%251]`,
  ];
}

/** Every notation of every special address, as a host of a URL. */
export function specialHosts(): string[] {
  const four = Object.values(SPECIAL_IPV4).flat();
  const six = [...Object.values(SPECIAL_IPV6).flat(), ...four.flatMap(embedIpv4)];
  return [...new Set([...four.flatMap(spellIpv4), ...six.flatMap(spellIpv6)])];
}

function percent(text: string): string {
  return [...text].map((char) => `%${char.charCodeAt(0).toString(16)}`).join("");
}
