// The operation `import-csv`: a CSV file into a table of an SQLite database, in batches, exactly once.

import { defineOperation } from "coatcheck";
import { z } from "zod";

export const importCsv = defineOperation({
  name: "import-csv",
  title: "Import a CSV file into SQLite",
  description:
    "Takes an uploaded CSV, a data set that is at hand, or generated rows. An interrupted import continues where it stopped.",
  input: z
    .object({
      table: z
        .string()
        .max(63)
        .regex(/^(?!sqlite_|coatcheck_)[a-z_][a-z0-9_]*$/)
        .describe("The table to make."),
      dataset: z.enum(["zipcodes"]).optional().describe("A CSV that is at hand: 42,049 US zip codes."),
      generate: z
        .strictObject({ rows: z.int().min(1).max(10_000_000) })
        .optional()
        .describe("Rows of made-up orders, always the same."),
      ifExists: z
        .enum(["fail", "replace"])
        .default("fail")
        .describe("What to do if the table exists; it is replaced only once the import is whole."),
      delimiter: z.enum([",", ";", "\t", "|"]).default(","),
      text: z
        .string()
        .max(2000)
        .optional()
        .describe("Columns that stay text whatever they look like, separated by commas."),
      batchRows: z.int().min(1).max(50_000).default(5000).describe("Rows of one transaction."),
    })
    .refine((input) => input.dataset === undefined || input.generate === undefined, {
      message: "is either dataset or generate, not both",
      path: ["generate"],
    }),
  output: z.object({
    /** The database file, relative to the folder of imports. */
    database: z.string(),
    table: z.string(),
    rows: z.int(),
    columns: z.array(z.object({ name: z.string(), type: z.enum(["TEXT", "INTEGER", "REAL"]) })),
    /** How many rows earlier attempts had imported. */
    resumedFrom: z.int(),
  }),
  file: {
    types: ["text/csv", "text/plain", "application/csv", "application/octet-stream"],
    maxBytes: 2 * 1024 ** 3,
  },
});
