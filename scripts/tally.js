// Prints `N passed, N failed` from vitest's JSON report, and ends non-zero unless all is well:
// `node scripts/tally.js REPORT STATUS`, where STATUS is what the test command ended with.
import { readFileSync } from "node:fs";

const [path = "", status = "1"] = process.argv.slice(2);
let report = {
  success: false,
  numPassedTests: 0,
  numFailedTests: 0,
  numFailedTestSuites: 0,
  testResults: [],
};
try {
  report = JSON.parse(readFileSync(path, "utf8"));
} catch {
  // The tests did not come to their end, or did not begin: the check, the build or the installation failed.
}
// A file that can't be loaded fails without a test of it having failed.
const broken = report.testResults.filter(
  ({ status, assertionResults }) =>
    status === "failed" && !assertionResults.some((test) => test.status === "failed"),
).length;
const counted = report.numFailedTests + broken;
const fine = report.success && status === "0" && counted === 0 && report.numPassedTests > 0;
const failed = fine ? 0 : Math.max(1, counted);
console.log(`${report.numPassedTests} passed, ${failed} failed`);
process.exit(fine ? 0 : 1);
