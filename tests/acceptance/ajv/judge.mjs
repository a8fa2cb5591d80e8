// node judge.mjs FILE...: what Ajv, strict, says of each JSON Schema; {"FILE": "" or its complaint}.
// A line of JSON on standard input, {"FILE": [instance, ...]}, has the instances judged as well.

import { readFileSync } from "node:fs";
import Ajv from "ajv/dist/2020.js";

const instances = JSON.parse(readFileSync(0, "utf8") || "{}");
const said = {};
for (const file of process.argv.slice(2)) {
  const ajv = new Ajv({ strict: true, logger: false });
  try {
    const validate = ajv.compile(JSON.parse(readFileSync(file, "utf8")));
    const wrong = (instances[file] ?? []).map((each) => (validate(each) ? "" : ajv.errorsText(validate.errors)));
    said[file] = wrong.find((each) => each) ?? "";
  } catch (error) {
    said[file] = String(error.message);
  }
}
process.stdout.write(JSON.stringify(said));
