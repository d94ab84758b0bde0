// Where in a YAML text a place is: the keys that lead to it. Enough for a configuration that is being typed.
const KEY = /^(\s*)(?:- +)?["']?([\w./-]+)["']?\s*:(?=\s|$)/;

// The keys above `offset`, the one on its line included.
export function keysAt(text, offset) {
  const lines = text.slice(0, offset).split("\n"), whole = text.split("\n");
  const path = [];   // {indent, key}
  for (let number = 0; number < lines.length; number += 1) {
    const line = number === lines.length - 1 ? whole[number] : lines[number];
    const found = line.replace(/(^|\s)#.*$/, "").match(KEY);
    const indent = found ? found[1].length : line.search(/\S|$/);
    const isLast = number === lines.length - 1;
    if (found || (isLast && line.trim())) while (path.length && path[path.length - 1].indent >= indent) path.pop();
    if (isLast && !line.trim()) while (path.length && path[path.length - 1].indent >= lines[number].length) path.pop();
    if (found) path.push({indent, key: found[2]});
  }
  const last = lines[lines.length - 1];
  return [...path.map(one => one.key), ...keysInBraces(last.slice((last.match(KEY) || [""])[0].length))];
}

// Of the part of a line before the place: {bundle: parts, engine: {threads: 2
function keysInBraces(text) {
  const open = [];
  for (const [, mark, key] of text.matchAll(/([{}])|["']?([\w./-]+)["']?\s*:(?=\s|$)/g)) {
    if (mark === "{") open.push(null);
    else if (mark === "}") open.pop();
    else if (open.length) open[open.length - 1] = key;
  }
  return open.filter(key => key !== null);
}
