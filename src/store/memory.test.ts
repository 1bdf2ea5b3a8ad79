import { expect, test } from "vitest";
import { storeSuite } from "../testing/store.ts";
import { openMemory } from "./memory.ts";

// No `reopen`: what is in memory ends with the process, which is what its durability says.
storeSuite("memory", async ({ clock }) => {
  const store = openMemory({ clock });
  return { store, close: () => store.close() };
});

test("the memory store says that it survives nothing but the process", () => {
  const store = openMemory();
  expect([store.name, store.durability]).toEqual(["memory", "process"]);
  return store.close();
});
