import { FLEET } from "./crash/house.ts";
import { crashSuite } from "./crash/suite.ts";

crashSuite({ title: "four processes on PostgreSQL", store: "postgres", roles: FLEET, cycles: 50 });
