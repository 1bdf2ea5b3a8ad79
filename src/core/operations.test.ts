import { describe, expect, it } from "vitest";
import { defineOperation, type Operation } from "./operation.ts";
import { readyOperations } from "./operations.ts";

const ECHO = defineOperation({ name: "echo", file: { types: ["text/*"] } });
const made = (other: object) => [{ ...ECHO, ...other } as Operation];
const withPolicy = (other: object) => made({ policy: { ...ECHO.policy, ...other } });

describe("operations that are made ready", () => {
  it("are those that defineOperation gives, also spread or read from JSON", () => {
    expect([...readyOperations([ECHO]).keys()]).toEqual(["echo"]);
    expect(readyOperations([ECHO]).get("echo")?.operation).toBe(ECHO);
    expect(readyOperations(made({})).size).toBe(1);
    expect(readyOperations([JSON.parse(JSON.stringify(ECHO)) as Operation]).size).toBe(1);
  });

  it.each([
    [made({ policy: {} }), "its policy.maxAttempts must be a whole number from 1 to 100"],
    [made({ policy: null }), "its policy must be an object"],
    [withPolicy({ backoff: undefined }), "its policy.backoff must be an object"],
    [withPolicy({ backoff: { kind: "fixed" } }), "its policy.backoff.baseMs must be whole milliseconds"],
    [withPolicy({ leaseMs: 0 }), "its policy.leaseMs must be whole milliseconds, at least 1000"],
    [withPolicy({ timeoutMs: "1h" }), "its policy.timeoutMs must be whole milliseconds"],
    [withPolicy({ retentionMs: Number.NaN }), "its policy.retentionMs must be whole milliseconds"],
    [withPolicy({ running: 0 }), "its policy.running must be a whole number from 1 to 1000000000, or null"],
    [withPolicy({ isolated: undefined }), "its policy.isolated must be true or false"],
    [made({ backlog: 0 }), "its backlog must be"],
    [made({ idempotency: "sometimes" }), 'its idempotency must be "optional" or "required"'],
    [made({ file: { types: "text/*" } }), "its file must be null, or have"],
    [made({ input: undefined }), "its input must be a schema or null"],
    [made({ title: undefined }), "its title must be text"],
  ])("%j are refused where one was made by hand and is not", (operations, sentence) => {
    expect(() => readyOperations(operations)).toThrow(TypeError);
    expect(() => readyOperations(operations)).toThrow(
      `The operation "echo" is not what \`defineOperation\` gives: ${sentence}`,
    );
  });

  it.each([
    [made({ name: "Echo!" }), "An operation's name is"],
    [made({ path: "/jobs/mine" }), "The path of echo must be like"],
    [[null as unknown as Operation], "An operation must be what `defineOperation` gives."],
    [[ECHO, ECHO], 'Two operations are named "echo".'],
    [[ECHO, ...made({ name: "other" })], 'Two operations are submitted to "/operations/echo".'],
  ])("%j are refused in one sentence", (operations, sentence) => {
    expect(() => readyOperations(operations)).toThrow(sentence);
  });
});
