import { ALONE } from "./crash/house.ts";
import { crashSuite } from "./crash/suite.ts";

crashSuite({ title: "one process on SQLite", store: "sqlite", roles: ALONE, cycles: 30 });
