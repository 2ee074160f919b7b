// node ask.mjs FILE: answers, as JSON, each query that comes as a JSON list on stdin, by the browser build of DuckDB.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(import.meta.url);
const duckdb = require("@duckdb/duckdb-wasm/blocking");
const dist = path.dirname(require.resolve("@duckdb/duckdb-wasm/blocking"));
const bundle = (kind) => ({
  mainModule: path.join(dist, `duckdb-${kind}.wasm`),
  mainWorker: path.join(dist, `duckdb-node-${kind}.worker.cjs`),
});
try {
  const bundles = { mvp: bundle("mvp"), eh: bundle("eh") };
  const db = await duckdb.createDuckDB(bundles, new duckdb.VoidLogger(), duckdb.NODE_RUNTIME);
  await db.instantiate(() => {});
  db.registerFileBuffer("evaluation.duckdb", new Uint8Array(fs.readFileSync(process.argv[2])));
  db.open({ path: "evaluation.duckdb", accessMode: duckdb.DuckDBAccessMode.READ_ONLY });
  const con = db.connect();
  const answers = JSON.parse(fs.readFileSync(0, "utf8")).map((sql) =>
    con.query(sql).toArray().map((row) => row.toJSON()),
  );
  const plain = (_key, value) => (typeof value === "bigint" ? Number(value) : value);
  console.log(JSON.stringify({ version: db.getVersion(), answers }, plain));
  con.close();
} catch (error) {
  // Uncaught, Node prints the whole line of the bundle, a megabyte of it.
  console.error(String(error.message ?? error).slice(0, 500));
  process.exitCode = 1;
}
