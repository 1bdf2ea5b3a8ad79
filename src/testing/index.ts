// The suites that every store and blob store passes, for those who write another.

export { type BlobsUnderTest, blobsSuite } from "./blobs.ts";
export { type ModelOptions, modelFailure, storeModel } from "./model.ts";
export { type Simulation, type SimulationOptions, simulate } from "./simulator.ts";
export { STORE_SENTENCES, type StoreFactory, type StoreUnderTest, storeSuite } from "./store.ts";
