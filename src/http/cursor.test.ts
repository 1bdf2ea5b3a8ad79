import fc from "fast-check";
import { expect, it } from "vitest";
import { openCursor, sealCursor } from "./cursor.ts";

const KEY = new Uint8Array(32).fill(1);

it("a cursor gives back the place that was sealed in it", () => {
  fc.assert(
    fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), fc.string(), (after, context) => {
      expect(openCursor(KEY, context, sealCursor(KEY, context, after))).toBe(after);
    }),
  );
});

it("a cursor shows nothing of its place, not even whether two are the same", () => {
  expect(sealCursor(KEY, "ada", 5)).not.toBe(sealCursor(KEY, "ada", 5));
  expect(sealCursor(KEY, "ada", 5)).toMatch(/^[\w-]{48}$/);
});

it("no changed bit of a cursor is taken", () => {
  const bytes = Buffer.from(sealCursor(KEY, "ada", 5), "base64url");
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Buffer.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
    expect(openCursor(KEY, "ada", changed.toString("base64url"))).toBeNull();
  }
});

it("a cursor of another listing, of another key, or of no server is not taken", () => {
  const cursor = sealCursor(KEY, "ada", 5);
  expect(openCursor(KEY, "bob", cursor)).toBeNull();
  expect(openCursor(new Uint8Array(32), "ada", cursor)).toBeNull();
  for (const other of ["", "5", `${cursor}=`, cursor.slice(1), `${cursor.slice(0, -1)}!`, "A".repeat(48)]) {
    expect(openCursor(KEY, "ada", other)).toBeNull();
  }
});
