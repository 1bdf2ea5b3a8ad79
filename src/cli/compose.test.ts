// `compose.yaml` and the `Dockerfile` name what there is: files, commands, options, variables. No engine runs them here.

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { loadConfig } from "../server/config.ts";
import { VARIABLES } from "../server/options.ts";
import { readStoreUrl } from "../server/store-url.ts";
import { serve } from "./serve.ts";
import { work } from "./work.ts";

interface Service {
  readonly build?: string;
  readonly image?: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly configs?: readonly { readonly source: string }[];
  readonly depends_on?: object | readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: object;
  readonly configs: Readonly<Record<string, { readonly content: string }>>;
}

const ROOT = new URL("../../", import.meta.url);
const read = (file: string) => readFileSync(new URL(file, ROOT), "utf8");
const compose = parse(read("compose.yaml"), { merge: true }) as Compose;
const dockerfile = read("Dockerfile");
const services = Object.entries(compose.services);
const ours = services.filter(([, { build }]) => build !== undefined);
const SECRET = "s3cret";
/** As Docker fills in what the environment says, which is a password. */
const filled = (text: string) =>
  text.replace(/\$\{(\w+)(?::([?-])([^}]*))?\}/g, (_all, _name, kind, rest: string) =>
    kind === "-" ? rest : SECRET,
  );
const environmentOf = ({ environment = {} }: Service) =>
  Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, filled(value)]));

describe("compose.yaml", () => {
  it("has PostgreSQL, two servers that only serve, and two workers", () => {
    const commands = ours.map(([, { command = [] }]) => command.join(" "));
    expect(commands).toEqual(["serve --no-work", "serve --no-work", "work", "work"]);
    expect(compose.services.postgres?.image).toBe("postgres:17");
  });

  it("gives options that the commands have, and variables that the configuration has", () => {
    const HELP = { serve: serve.help, work: work.help };
    const names = VARIABLES.map(({ name }) => name);
    for (const [name, service] of ours) {
      const [command, ...options] = service.command as [keyof typeof HELP, ...string[]];
      for (const option of options) expect(HELP[command], name).toContain(`  ${option} `);
      for (const variable of Object.keys(service.environment ?? {})) expect(names, name).toContain(variable);
    }
  });

  it("is a configuration that servers and workers start with, once there is a key", async () => {
    const file = fileURLToPath(new URL("examples/compose/coatcheck.config.ts", ROOT));
    for (const [name, service] of ours) {
      const isServer = service.command?.[0] === "serve";
      const environment: Record<string, string> = environmentOf(service);
      const loading = loadConfig({ file, environment, use: isServer ? "serve" : "work" });
      if (isServer) {
        await expect(loading, name).rejects.toThrow("make the first key with `coatcheck keys create");
        continue;
      }
      const config = await loading;
      expect(config).toMatchObject({ healthPort: 2021, files: "/data/files" });
      expect(readStoreUrl(config.store)).toEqual({ kind: "postgres", url: expect.stringContaining(SECRET) });
    }
  });

  it("watches the health of all that have one, at the port where it is", () => {
    for (const [name, { healthcheck, environment = {} }] of ours) {
      const port = environment.PORT ?? environment.COATCHECK_HEALTH_PORT;
      expect(healthcheck?.test.at(-1), name).toContain(`http://127.0.0.1:${port}/health/ready`);
    }
    expect(compose.services.postgres?.healthcheck?.test).toContain("pg_isready");
  });

  it("names volumes, configs and services that it declares, and puts both servers behind the balancer", () => {
    for (const [name, { volumes = [], configs = [], depends_on = [] }] of services) {
      for (const volume of volumes)
        expect(Object.keys(compose.volumes), name).toContain(volume.split(":")[0]);
      for (const { source } of configs) expect(Object.keys(compose.configs), name).toContain(source);
      const needs = Array.isArray(depends_on) ? depends_on : Object.keys(depends_on);
      for (const need of needs) expect(Object.keys(compose.services), name).toContain(need);
    }
    const servers = ours
      .filter(([, { command }]) => command?.[0] === "serve")
      .map(([name]) => `${name}:2020`);
    expect(compose.configs.balancer?.content).toContain(`reverse_proxy ${servers.join(" ")} {`);
  });

  it("holds no secret: the environment says it, or nothing starts", () => {
    const said = services.flatMap(([, { environment = {} }]) => Object.values(environment));
    const secret = said.filter((value) => value.includes("POSTGRES_PASSWORD"));
    expect(secret).toHaveLength(5);
    for (const value of secret) expect(value).toMatch(/\$\{POSTGRES_PASSWORD:\?/);
  });
});

describe("the Dockerfile", () => {
  it("copies files that there are, and that .dockerignore lets in", () => {
    const ignored = read(".dockerignore").split("\n");
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, files]) =>
      (files as string).split(" "),
    );
    expect(copied.length).toBeGreaterThan(5);
    for (const file of copied) {
      expect(existsSync(new URL(file, ROOT)), file).toBe(true);
      expect(
        ignored.some((line) => line.startsWith("!") && file.startsWith(line.slice(1))),
        file,
      ).toBe(true);
    }
  });

  it("ends with what runs, without what built it, as nobody special", () => {
    const last = dockerfile.split(/^FROM /m).at(-1) as string;
    expect(last).toContain("npm ci --omit=dev");
    expect(last).toMatch(/^USER node$/m);
    expect(last.indexOf("USER node")).toBeGreaterThan(last.lastIndexOf("RUN "));
    const { bin } = JSON.parse(read("package.json")) as { readonly bin: { readonly coatcheck: string } };
    expect(last).toContain(`ENTRYPOINT ["node", "${bin.coatcheck.replace("./", "")}"]`);
  });
});
