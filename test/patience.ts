// Before every test file: what is waited for may take its time on a busy machine. A test that waits for what never comes still ends.

import { vi } from "vitest";

const PATIENT_MS = 10_000;

const waitFor = vi.waitFor.bind(vi);
vi.waitFor = (isSo, options = {}) =>
  waitFor(isSo, typeof options === "number" ? options : { timeout: PATIENT_MS, ...options });
