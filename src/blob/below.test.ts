import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PathRefused, pathBelow } from "./below.ts";

let home: string;
let folder: string;

beforeAll(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "below-")));
  folder = join(home, "media");
  await mkdir(join(folder, "clips", "..a"), { recursive: true });
  await mkdir(join(home, "media-secret"));
  for (const file of ["clips/a.mp4", "clips/..a/b…c.mp4", "clips/.hidden", "..mp4", "12:30.mp4"]) {
    await writeFile(join(folder, file), "inside");
  }
  await writeFile(join(home, "secret"), "outside");
  await writeFile(join(home, "media-secret", "s"), "outside");
  await symlink(join(home, "secret"), join(folder, "file-link"));
  await symlink(home, join(folder, "folder-link"));
  await symlink("../../media-secret", join(folder, "clips", "sibling-link"));
  await symlink(folder, join(folder, "self-link"));
  await symlink("clips/a.mp4", join(folder, "inner-link"));
  await symlink("loop", join(folder, "loop"));
  await symlink(folder, join(home, "media-link"));
});

afterAll(() => rm(home, { recursive: true, force: true }));

const refusal = async (path: string, below = folder) => {
  const error = await pathBelow(below, path).catch((thrown: unknown) => thrown);
  expect(error, `${JSON.stringify(path)} must be refused`).toBeInstanceOf(PathRefused);
  const refused = error as PathRefused;
  expect(refused.message).not.toContain(home);
  return refused.reason;
};

describe("pathBelow", () => {
  it.each(["clips/a.mp4", "clips/..a/b…c.mp4", "clips/.hidden", "..mp4", "12:30.mp4"])(
    "gives the absolute path of %j",
    async (path) => {
      expect(await pathBelow(folder, path)).toBe(join(folder, path));
    },
  );

  it.each([
    "",
    ".",
    "..",
    "/etc/passwd",
    "//host/share",
    "../secret",
    "clips/../../secret",
    "clips/..",
    "clips/./a.mp4",
    "clips//a.mp4",
    "clips/",
    "clips\\a.mp4",
    "..\\secret",
    "C:secret",
    "c:/secret",
    "clips/a.mp4\0.png",
    "clips/a\n.mp4",
  ])("refuses %j as malformed, without asking the disk", async (path) => {
    expect(await refusal(path, join(home, "no such folder"))).toBe("malformed");
  });

  it.each(["file-link", "folder-link/secret", "clips/sibling-link/s", "folder-link", "self-link"])(
    "refuses the symbolic link %j that leads out of the folder",
    async (path) => {
      expect(await refusal(path)).toBe("outside");
    },
  );

  it("follows a symbolic link that stays inside, and gives what it leads to", async () => {
    expect(await pathBelow(folder, "inner-link")).toBe(join(folder, "clips/a.mp4"));
  });

  it("takes a folder that is itself a symbolic link", async () => {
    expect(await pathBelow(join(home, "media-link"), "clips/a.mp4")).toBe(join(folder, "clips/a.mp4"));
  });

  it.each(["nothing", "clips/a.mp4/b", "loop", "x".repeat(5000)])(
    "says of %j that it is missing",
    async (path) => {
      expect(await refusal(path)).toBe("missing");
    },
  );

  it("tells a caller the same of a link that leads out as of a file that is missing", async () => {
    const [outside, missing] = await Promise.all(
      ["file-link", "nothing"].map((path) => pathBelow(folder, path).catch((error: Error) => error.message)),
    );
    expect(outside).toBe(missing);
  });

  it("says apart that the configured folder is missing", async () => {
    expect(await refusal("clips/a.mp4", join(home, "no such folder"))).toBe("no-folder");
  });
});
