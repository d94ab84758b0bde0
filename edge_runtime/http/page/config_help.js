// What the schema of the configuration says of a key.
import {facts, make} from "./dom.js";

const NUMBERS = [["minimum", "at least"], ["exclusiveMinimum", "more than"], ["maximum", "at most"], ["exclusiveMaximum", "less than"]];

const resolve = (schema, node) => node && node.$ref ? {...schema.$defs[node.$ref.split("/").pop()], ...node, $ref: undefined} : node;
const variants = (schema, node) => (node.anyOf || node.oneOf || [node]).map(one => resolve(schema, one));
// Of a section with names of its user's choice: the schema of each value.
const named = node => Object.values(node.patternProperties || {})[0] || (typeof node.additionalProperties === "object" ? node.additionalProperties : null);
const isSection = node => Boolean(node.properties || named(node));

// The schema of the value at these keys; null where there is no such key.
export function findKey(schema, keys) {
  let node = schema;
  for (const key of keys) {
    const inside = variants(schema, resolve(schema, node)).find(isSection);
    const next = inside && ((inside.properties || {})[key] || named(inside));
    if (!next) return null;
    node = resolve(schema, next);
  }
  return node;
}

function describeType(schema, node) {
  return variants(schema, node).map(one => {
    if (one.enum) return one.enum.map(value => JSON.stringify(value)).join(", ");
    if (one.const !== undefined) return JSON.stringify(one.const);
    if (one.properties) return "a section";
    if (named(one)) return "a section with names of your choice";
    const limits = NUMBERS.filter(([key]) => one[key] !== undefined).map(([key, words]) => `${words} ${one[key]}`);
    return [one.type || "any", ...limits].join(", ");
  }).join("; or ");
}

const firstSentence = text => (text || "").split(/(?<=\.)\s/)[0];

function keyList(schema, node) {
  const inside = variants(schema, node).find(one => one.properties);
  if (!inside) return null;
  const required = inside.required || [];
  return make("dl", {class: "keys"}, ...Object.entries(inside.properties).flatMap(([key, value]) => {
    const found = resolve(schema, value);
    return [make("dt", {}, key, required.includes(key) ? " (needed)" : ""), make("dd", {}, firstSentence(found.description))];
  }));
}

// Nodes that explain the key; of an unknown one the keys that are known there.
export function explain(schema, keys) {
  const name = keys.join(".") || "the whole file", node = findKey(schema, keys);
  if (!node) {
    const above = findKey(schema, keys.slice(0, -1));
    return [make("h3", {}, name), make("p", {class: "warn"}, "There is no such key."), ...(above ? [keyList(schema, above)] : [])].filter(Boolean);
  }
  const value = node.default, inner = resolve(schema, variants(schema, node).map(named).find(Boolean));
  return [make("h3", {}, name), make("p", {}, node.description || ""), facts([
    ["value", describeType(schema, node)], ["default", value === undefined ? null : JSON.stringify(value)],
    ["example", node.examples ? JSON.stringify(node.examples[0]) : null]]),
  keyList(schema, node) || (inner ? keyList(schema, inner) : null)].filter(Boolean);
}
