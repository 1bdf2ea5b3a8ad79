// The servers that are easily had with a queue in PostgreSQL: Fastify and one `send` or `add_job` a request, no key, no
// quota, no status document of their own.
// Arguments: the URL of a PostgreSQL, "pg-boss" or "graphile-worker".
import Fastify from "fastify";
import { makeWorkerUtils, runMigrations } from "graphile-worker";
import { Pool } from "pg";
import PgBoss from "pg-boss";

const [url = "", queue = ""] = process.argv.slice(2);
const add = queue === "pg-boss" ? await openPgBoss() : await openGraphileWorker();

const app = Fastify();
const body = {
  type: "object",
  properties: { text: { type: "string" } },
  required: ["text"],
  additionalProperties: false,
};

app.post<{ Body: { readonly text: string } }>(
  "/operations/empty",
  { schema: { body } },
  async (request, reply) => {
    const id = await add(request.body);
    return reply
      .code(202)
      .header("location", `/jobs/${id}`)
      .header("retry-after", "1")
      .send({ id, status: "queued" });
  },
);

console.log(`ready ${await app.listen({ host: "127.0.0.1", port: 0 })}`);

async function openPgBoss(): Promise<(data: object) => Promise<string | null>> {
  const boss = new PgBoss({ connectionString: url, max: 10, supervise: false, schedule: false });
  await boss.start();
  await boss.createQueue("empty");
  return async (data) => await boss.send("empty", data);
}

async function openGraphileWorker(): Promise<(data: object) => Promise<string>> {
  const pgPool = new Pool({ connectionString: url, max: 10 });
  await runMigrations({ pgPool });
  const utils = await makeWorkerUtils({ pgPool });
  return async (data) => (await utils.addJob("empty", data)).id;
}
