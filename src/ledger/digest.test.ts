import { expect, it } from "vitest";
import { addressOf, contentDigest, createId, keyDigest } from "./digest.ts";

const DIGEST = /^[0-9a-f]{32}$/;

it("a digest is 128 bits in lower-case hex, the same each time", () => {
  for (const digest of [
    addressOf("ada", "1"),
    keyDigest("ada", "echo", "k"),
    contentDigest("ada", "echo", "1", ""),
  ]) {
    expect(digest).toMatch(DIGEST);
  }
  expect(addressOf("ada", "1")).toBe(addressOf("ada", "1"));
});

it.each([
  [
    ["a", "b c"],
    ["a b", "c"],
  ],
  [
    ["a", "1 b"],
    ["a 1", "b"],
  ],
  [
    ["", "a"],
    ["a", ""],
  ],
  [
    ["1 a", "b"],
    ["1", "a b"],
  ],
  [
    ["\u00fc", "b"],
    ["u\u0308", "b"],
  ],
] as const)("the owner and id of %j lie elsewhere than those of %j", ([owner, id], [otherOwner, otherId]) => {
  expect(addressOf(owner, id)).not.toBe(addressOf(otherOwner, otherId));
  expect(keyDigest(owner, "echo", id)).not.toBe(keyDigest(otherOwner, "echo", otherId));
  expect(contentDigest(owner, "echo", id, "")).not.toBe(contentDigest(otherOwner, "echo", otherId, ""));
});

it("a job's address, a key and a content of the same words are three digests", () => {
  const digests = [
    addressOf("ada", "echo k"),
    keyDigest("ada", "echo", "k"),
    contentDigest("ada", "echo", "k", ""),
  ];
  expect(new Set(digests).size).toBe(3);
});

it("a key is another one in another operation", () => {
  expect(keyDigest("ada", "echo", "b k")).not.toBe(keyDigest("ada", "echo-b", "k"));
  expect(keyDigest("ada", "echo", "k")).not.toBe(keyDigest("ada", "echo2", "k"));
});

it("a content is another one with another file", () => {
  const contents = ["", "0".repeat(64), "1".repeat(64)].map((upload) =>
    contentDigest("ada", "echo", "1", upload),
  );
  expect(new Set(contents).size).toBe(3);
});

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const IDS = Array.from({ length: 100_000 }, createId);

it("an id is 26 characters that are not mistaken for one another", () => {
  const wrong = IDS.filter((id) => !/^[0-9a-hjkmnp-tv-z]{26}$/.test(id));
  expect(wrong).toEqual([]);
});

it("of a hundred thousand ids none is there twice", () => {
  expect(new Set(IDS).size).toBe(IDS.length);
});

it("every character of the alphabet is about as likely at every place of an id", () => {
  for (let place = 0; place < 26; place++) {
    const counts = new Map<string, number>();
    for (const id of IDS) counts.set(id[place] as string, (counts.get(id[place] as string) ?? 0) + 1);
    // 128 bits leave three for the last character: every fourth one of the alphabet.
    const possible = [...ALPHABET].filter((_, index) => place < 25 || index % 4 === 0);
    expect([...counts.keys()].sort()).toEqual(possible);
    const even = IDS.length / possible.length;
    // 9 standard deviations and more: it fails by chance about never.
    for (const count of counts.values()) expect(Math.abs(count - even)).toBeLessThan(0.17 * even);
  }
});

it("ids made one after the other have nothing in common", () => {
  const first = IDS.map((id) => id.slice(0, 10));
  const last = IDS.map((id) => id.slice(-10));
  expect(new Set(first).size).toBe(IDS.length);
  expect(new Set(last).size).toBe(IDS.length);
});
