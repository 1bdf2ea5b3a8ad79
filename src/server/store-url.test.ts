import { describe, expect, test } from "vitest";
import { filesOf, isShared, readStoreUrl } from "./store-url.ts";

describe("the URL of a store", () => {
  test.each([
    ["memory:", { kind: "memory" }],
    ["sqlite:./data/jobs.db", { kind: "sqlite", file: "./data/jobs.db" }],
    ["sqlite:///srv/jobs.db", { kind: "sqlite", file: "/srv/jobs.db" }],
    ["postgres://ada:s%40fe@db:5432/jobs", { kind: "postgres", url: "postgres://ada:s%40fe@db:5432/jobs" }],
    ["postgresql:///jobs?host=/run/pg", { kind: "postgres", url: "postgresql:///jobs?host=/run/pg" }],
    [
      "postgres://db/jobs?sslmode=require&schema=coat&durability=process&pooler=true",
      {
        kind: "postgres",
        url: "postgres://db/jobs?sslmode=require",
        schema: "coat",
        durability: "process",
        pooler: true,
      },
    ],
    ["postgres://db/jobs?durability=power", { kind: "postgres", url: "postgres://db/jobs" }],
    ["redis://db", { kind: "redis", url: "redis://db" }],
    [
      "rediss://:p%23ss@db:6380/3?prefix=coat:1&family=6",
      { kind: "redis", url: "rediss://:p%23ss@db:6380/3?family=6", prefix: "coat:1" },
    ],
    [
      "redis://:p,w@one:6379,two:6380,[::1]:6381/0?prefix=a",
      { kind: "redis", url: "redis://:p,w@one:6379,two:6380,[::1]:6381/0", prefix: "a" },
    ],
  ])("%s is read, and its driver is given what is the driver's", (url, place) => {
    expect(readStoreUrl(url)).toEqual(place);
  });

  test.each([
    ["./jobs.db", "COATCHECK_STORE is not a store: a store is `sqlite:` and a path"],
    ["mysql://a:hunter2@b/c", "COATCHECK_STORE can't be mysql: a store is"],
    ["valkey://:hunter2@b", "COATCHECK_STORE can't be valkey: write redis://"],
    ["sqlite:", "COATCHECK_STORE must name a file"],
    ["sqlite:data/", "COATCHECK_STORE must name a file"],
    ["sqlite::memory:", "COATCHECK_STORE can't be SQLite in memory: write memory:"],
    ["sqlite:jobs.db?mode=ro", "COATCHECK_STORE takes no parameters"],
    ["postgres:a:hunter2@b/c", "COATCHECK_STORE is not a URL: two slashes"],
    ["postgres://a:hunter2/x@b:5432/c", "COATCHECK_STORE is not a URL: write postgres://user"],
    ["postgres://a:x#hunter2@b/c", "COATCHECK_STORE is not a URL"],
    ["postgres://b/c#hunter2", "COATCHECK_STORE has a # in it"],
    ["postgres://a:hunter2@b/c/d", "COATCHECK_STORE must name one database"],
    ["postgres://a:hunter2@b,c/d", "COATCHECK_STORE is not a URL"],
    ["redis://:hunter2@b,c:port/0", "COATCHECK_STORE is not a URL"],
    ["redis://:hunter2@b,/0", "COATCHECK_STORE is not a URL"],
    ["redis://:hunter2@b/jobs", "COATCHECK_STORE must end with the number of a database"],
    ["postgres://b/c?prefix=x", 'COATCHECK_STORE has the parameter "prefix", which postgres does not have.'],
    ["redis://b?pooler=true", 'COATCHECK_STORE has the parameter "pooler", which redis does not have.'],
    ["postgres://b/c?shema=x", 'COATCHECK_STORE has an unknown parameter "shema". Did you mean "schema"?'],
    ["postgres://b/c?schema=a&schema=b", 'COATCHECK_STORE has the parameter "schema" twice.'],
    ["postgres://b/c?schema=pg_x", "The schema of COATCHECK_STORE must be"],
    ["postgres://b/c?schema=A%22b", "The schema of COATCHECK_STORE must be"],
    ["redis://b?prefix={a}", "The prefix of COATCHECK_STORE must be"],
    ["redis://b?durability=quorum", "The durability of COATCHECK_STORE must be power"],
    ["postgres://b/c?pooler=yes", "The pooler of COATCHECK_STORE must be true or false."],
  ])("%s is refused in one sentence that holds no secret", (url, sentence) => {
    const read = () => readStoreUrl(url, "COATCHECK_STORE");
    expect(read).toThrow(RangeError);
    expect(read).toThrow(sentence);
    expect(read).not.toThrow("hunter2");
    expect(read).toThrow(/[.?]$/);
  });
});

test("files lie beside an SQLite file, in ./data/files for a database, and go with what is in memory", () => {
  const files = ["sqlite:a/b.db", "postgres://db/jobs", "redis://db", "memory:"].map((url) =>
    filesOf(readStoreUrl(url)),
  );
  expect(files).toEqual(["a/files", "data/files", "data/files", null]);
  expect(["sqlite:a/b.db", "postgres://db/jobs", "redis://db", "memory:"].map(readable)).toEqual([
    false,
    true,
    true,
    false,
  ]);
});

function readable(url: string): boolean {
  return isShared(readStoreUrl(url));
}
