import { storeModel } from "../testing/model.ts";
import { openMemory } from "./memory.ts";

storeModel("memory", async ({ clock }) => {
  const store = openMemory({ clock });
  return { store, close: () => store.close() };
});
