// Bundles src/main.js into ../static/app.js and writes the licenses of the bundled libraries; equal sources give equal bytes.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));
const { metafile } = await build({
  entryPoints: ["src/main.js"],
  outfile: "../static/app.js",
  bundle: true,
  minify: true,
  charset: "utf8",
  format: "iife",
  target: ["es2022"],
  legalComments: "none",
  metafile: true,
  preserveSymlinks: true,
});

const used = Object.keys(metafile.inputs).map((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1]);
const names = [...new Set(used.filter(Boolean))].sort();
const licenses = names.map((name) => {
  const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  const text = readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim();
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync("../static/THIRD_PARTY_LICENSES.txt", `The page's script contains these libraries.\n\n${licenses.join("\n---\n\n")}`);
