// The search in file and class names.
import { NONE } from "./aggregation.js";
import { findNames, readNames } from "./names.js";

/** A function from a text to the mask of rows whose file name or class names contain it; names are lower-cased once. */
export function searcher(rows, facts) {
  let names;
  let last = { wanted: null };
  const lower = facts.classes.map((name) => name.toLowerCase());
  return (text) => {
    const wanted = text.toLowerCase();
    const { values, offsets } = rows.names.data[0];
    names ??= readNames(values, offsets, rows.n);
    if (last.wanted !== wanted) last = { wanted, files: findNames(names, wanted) };
    const { files } = last;
    const classes = new Uint8Array(lower.length - NONE);
    lower.forEach((name, code) => (classes[code - NONE] = name.includes(wanted) ? 1 : 0));
    const mask = new Uint8Array(rows.n);
    for (let i = 0; i < rows.n; i++) mask[i] = files[rows.origin[i]] | classes[rows.label[i] - NONE] | classes[rows.pred[i] - NONE];
    return mask;
  };
}
