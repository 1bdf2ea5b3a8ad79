// A PostgreSQL that is killed and started again on the same data.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, startTied } from "./process.ts";
import {
  answersSql,
  asPostgres,
  findPostgres,
  initPostgres,
  installFromDebian,
  postgresArguments,
  untilGone,
} from "./servers.ts";

/** A PostgreSQL whose data outlive a kill: for tests that kill it and start it again, on the same port. */
export interface MortalPostgres {
  readonly url: string;
  readonly from: string;
  start(): Promise<void>;
  /** SIGKILL, to the server and all that works for it. */
  kill(): Promise<void>;
  /** Kills it for good and removes its data. */
  stop(): Promise<void>;
}

/** As `providePostgres`, but always a server of our own, from programs of this machine. */
export async function provideMortalPostgres(): Promise<MortalPostgres> {
  const binary =
    (await findPostgres()) ?? (await installFromDebian(["postgres"], "postgresql", findPostgres));
  if (binary === undefined)
    throw new Error("PostgreSQL is needed: install its server (Debian: apt-get install postgresql).");
  const directory = await mkdtemp(join(tmpdir(), "coatcheck-postgresql-"));
  const port = await freePort();
  await initPostgres(join(directory, "data"), binary);
  const command = await asPostgres([
    binary,
    ...postgresArguments(join(directory, "data"), "127.0.0.1", port, []),
  ]);
  let server: ReturnType<typeof startTied> | null = null;
  const kill = async () => {
    const running = server;
    server = null;
    await running?.stop();
    await untilGone(port);
  };
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    from: binary,
    kill,
    async start() {
      server = startTied(command, { workingDirectory: directory });
      let over: string | undefined;
      void server.ended.then(({ output }) => {
        over = output.trim().slice(-1_000);
      });
      while (!(await answersSql(port))) {
        if (over !== undefined) throw new Error(`PostgreSQL ended at its start: ${over}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    async stop() {
      await kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
