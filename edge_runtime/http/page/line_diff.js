// Which lines of a text were taken out and which were put in.
import {make} from "./dom.js";

const AROUND = 2;

// [{kind: " " | "-" | "+", text, before, after}], by the longest common subsequence; the numbers count from 1.
export function diff(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  let head = 0, tail = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
  const [n, m] = [a.length - head - tail, b.length - head - tail];
  const common = Array.from({length: n + 1}, () => new Uint16Array(m + 1));
  for (let i = n - 1; i >= 0; i -= 1) for (let j = m - 1; j >= 0; j -= 1) {
    common[i][j] = a[head + i] === b[head + j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  }
  const rows = [];
  let [i, j] = [0, 0];
  const same = () => rows.push({kind: " ", text: a[i], before: (i += 1), after: (j += 1)});
  while (i < head) same();
  while (i < head + n || j < head + m) {
    const [x, y] = [i - head, j - head];
    if (x < n && y < m && a[i] === b[j]) same();
    else if (x < n && (y === m || common[x + 1][y] >= common[x][y + 1])) rows.push({kind: "-", text: a[i], before: (i += 1)});
    else rows.push({kind: "+", text: b[j], after: (j += 1)});
  }
  while (i < a.length) same();
  return rows;
}

const NAMES = {"-": "taken out: ", "+": "put in: ", " ": ""};

// Only what changed, and the lines around it.
export function showDiff(before, after) {
  const rows = diff(before, after), changed = rows.map(row => row.kind !== " ");
  const isNear = at => changed.slice(Math.max(0, at - AROUND), at + AROUND + 1).some(Boolean);
  const table = make("ol", {class: "diff", "aria-label": "Changed lines", tabindex: "0"})   // the keyboard scrolls it;
  let skipped = false;
  rows.forEach((row, at) => {
    if (!isNear(at)) { skipped = true; return; }
    if (skipped) table.append(make("li", {class: "gap", "aria-hidden": "true"}, "…"));
    skipped = false;
    table.append(make("li", {class: {"-": "out", "+": "in", " ": ""}[row.kind]}, make("span", {class: "quiet", "aria-hidden": "true"}, `${row.after || row.before} ${row.kind} `),
      make("span", {class: "unseen"}, NAMES[row.kind]), row.text));
  });
  return table;
}
