import { FLEET } from "./crash/house.ts";
import { crashSuite } from "./crash/suite.ts";

crashSuite({ title: "four processes on one SQLite file", store: "sqlite", roles: FLEET, cycles: 50 });
