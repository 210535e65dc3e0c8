// Checks KQL with Microsoft's Kusto.Language against a declared schema.
//
// usage: node check.js PACKAGE_DIRECTORY SCHEMA_JSON
// Each line on stdin is {"id": ..., "query": ...}; each answer is one line on stdout.
"use strict";
const fs = require("fs");
const path = require("path");
const readline = require("readline");
const vm = require("vm");

const [packageDirectory, schemaText] = process.argv.slice(2);

// The package is C# compiled to scripts that expect one global scope, not modules.
for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  vm.runInThisContext(fs.readFileSync(path.join(packageDirectory, file), "utf8"), { filename: file });
}
const Kusto = globalThis.Kusto.Language;

function globalsFor(schema) {
  const tables = Object.entries(schema).map(([table, columns]) => {
    const declared = Object.entries(columns).map(([name, type]) => `${name}: ${type}`);
    return Kusto.Symbols.TableSymbol.From(`(${declared.join(", ")})`).WithName(table);
  });
  const workspace = new Kusto.Symbols.DatabaseSymbol.ctor("workspace", tables);
  return Kusto.GlobalState.Default.WithDatabase(workspace);
}

function items(list) {
  return list ? Array.from({ length: list.Count }, (_, index) => list.getItem(index)) : [];
}

function check(query, globals) {
  const code = Kusto.KustoCode.ParseAndAnalyze(query, globals);
  const diagnostics = items(code.GetDiagnostics()).map((found) => ({
    severity: found.Severity,
    code: found.Code,
    message: found.Message,
    start: found.Start,
    text: query.substr(found.Start, found.Length),
  }));
  const result = code.ResultType;
  const columns = items(result && result.Columns).map((column) => [column.Name, column.Type.Name]);
  return { diagnostics, columns };
}

const globals = globalsFor(JSON.parse(schemaText));
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, query } = JSON.parse(line);
  let answer;
  try {
    answer = check(query, globals);
  } catch (error) {
    answer = { failure: String(error) };
  }
  process.stdout.write(JSON.stringify({ id, ...answer }) + "\n");
});
