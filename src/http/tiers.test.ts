import { expect, test } from "vitest";
import { readTiers } from "./tiers.ts";

test("what a tier leaves out is as in the default tier", () => {
  const tiers = readTiers({
    free: { active: 5, rate: { quota: 10, window: "1m30s" } },
    paid: { rate: null, weight: 4 },
  });
  expect(tiers.get("free")).toEqual({
    name: "free",
    active: 5,
    running: null,
    rate: { quota: 10, windowSeconds: 90 },
    priority: 0,
    weight: 1,
  });
  expect(tiers.get("paid")).toMatchObject({ active: 1000, rate: null, weight: 4 });
  expect(tiers.get("default")).toMatchObject({ active: 1000, rate: { quota: 600, windowSeconds: 60 } });
});

test("the default tier can be set", () => {
  expect(readTiers({ default: { active: null } }).get("default")).toMatchObject({ active: null, weight: 1 });
});

test("limits that are off lift rates and quotas of every tier, and leave turns as they are", () => {
  const tiers = readTiers({ free: { active: 5, running: 2, priority: -3, weight: 7 } }, "off");
  expect(tiers.get("free")).toEqual({
    name: "free",
    active: null,
    running: null,
    rate: null,
    priority: -3,
    weight: 7,
  });
  expect(tiers.get("default")).toMatchObject({ active: null, running: null, rate: null });
});

test.each([
  [{ active: 0 }, "free.active must be a whole number from 1"],
  [{ running: 1.5 }, "free.running must be a whole number from 1"],
  [{ weight: 0 }, "free.weight must be a whole number from 1 to 1000"],
  [{ priority: 101 }, "free.priority must be a whole number from -100 to 100"],
  [{ rate: { quota: 0, window: "1m" } }, "free.rate.quota must be a whole number from 1"],
  [{ rate: { quota: 1, window: "500ms" } }, "free.rate.window must be whole seconds"],
  [{ rate: { quota: 1, window: "soon" } }, "free.rate.window must be a duration"],
])("a tier of %j is refused with a sentence", (tier, sentence) => {
  expect(() => readTiers({ free: tier })).toThrow(sentence);
});

test("a tier's name that could not be a name is refused", () => {
  expect(() => readTiers({ "Free Tier": {} })).toThrow("A tier's name is 1 to 64 lower-case letters");
});
