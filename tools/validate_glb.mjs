// Runs the Khronos glTF validator over files and prints one JSON report.
//
//   npm install --prefix tools        (once)
//   node tools/validate_glb.mjs a.glb b.gltf ...
//
// The package is looked for beside this file, then under NODE_PATH. Exit code: 0 when no file has errors or
// warnings, 1 when one has, 2 when nothing could be checked (no package, no file given, unreadable file).

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

let validator;
try {
  validator = createRequire(import.meta.url)("gltf-validator");
} catch {
  console.error("gltf-validator is not installed; run: npm install --prefix tools");
  process.exit(2);
}

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error("usage: node validate_glb.mjs FILE...");
  process.exit(2);
}

const reports = {};
let clean = true;
for (const file of files) {
  let data;
  try {
    data = new Uint8Array(await readFile(file));
  } catch (error) {
    console.error(`${file}: ${error.message}`);
    process.exit(2);
  }
  const report = await validator.validateBytes(data, { uri: file, maxIssues: 100 });
  const { numErrors, numWarnings, numInfos, numHints, messages } = report.issues;
  clean &&= numErrors === 0 && numWarnings === 0;
  reports[file] = {
    errors: numErrors,
    warnings: numWarnings,
    infos: numInfos,
    hints: numHints,
    messages: messages.map((m) => ({ severity: m.severity, code: m.code, message: m.message, pointer: m.pointer })),
    info: report.info,
  };
}
console.log(JSON.stringify({ validator: validator.version(), reports }, null, 2));
process.exit(clean ? 0 : 1);
