// All addresses of this server, out of its own description (openapi.json): what they take, what they answer, and how
// to ask by curl.
import {load} from "./api.js";
import {make} from "./dom.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const GROUPS = [["v2", "Open Inference Protocol"], ["cameras", "Pictures of cameras"], ["sensors", "Windows of sensors"], ["predict", "Answers to pictures and windows"]];
const REST = "State and results";
const element = make("div", {class: "addresses"});
let isOpen = false;

const schemaName = schema => schema && schema.$ref ? schema.$ref.split("/").pop() : null;

function groupOf(path) {
  const first = path.split("/")[1], found = GROUPS.find(([name]) => name === first);
  return found ? found[1] : REST;
}

function range({schema = {}}) {
  const {minimum, maximum, default: usual, type} = schema;
  const bounds = minimum === undefined ? type === "array" ? "may be given several times" : "" : `${minimum} to ${maximum}`;
  return [bounds, usual === undefined ? "" : `${usual} where it is not given`].filter(Boolean).join("; ");
}

function table(head, rows) {
  if (!rows.length) return null;
  const cells = (row, tag) => make("tr", {}, ...row.map(cell => make(tag, tag === "th" ? {scope: "col"} : {}, cell)));
  return make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": head[0]},
    make("table", {}, make("thead", {}, cells(head, "th")), make("tbody", {}, ...rows.map(row => cells(row, "td")))));
}

// Words in backticks are what to write.
const words = text => make("span", {}, ...text.split("`").map((part, at) => at % 2 ? make("code", {}, part) : part));

// What a body or an answer may be: the types, and the name of what JSON has in it.
const kinds = (content = {}) => Object.entries(content).map(([type, {schema}]) => schemaName(schema) ? `${type} (${schemaName(schema)})` : type).join(", ");

function command(method, path, operation, needsToken) {
  const address = new URL(path.replace(/^\//, ""), location.href.split("#")[0]);
  const body = operation.requestBody ? ["--data-binary @FILE"] : [];
  const shown = decodeURI(address.href).replace(/\{(\w+)\}/g, (_, name) => name.toUpperCase());
  return ["curl", ...(method === "get" || body.length ? [] : [`-X ${method.toUpperCase()}`]),
    ...(needsToken ? ["-H \"Authorization: Bearer TOKEN\""] : []), ...body, shown].join(" ");
}

function operationEntry(path, method, operation, isClosed) {
  const isOpenToAll = operation.security && operation.security.length === 0;
  return make("details", {class: "card address"},
    make("summary", {}, make("b", {class: "method"}, method.toUpperCase()), " ", make("code", {}, path), " ", make("span", {class: "quiet"}, operation.summary)),
    make("pre", {tabindex: "0", "aria-label": "by curl"}, command(method, path, operation, isClosed && !isOpenToAll)),
    table(["Parameter", "In", "Values"], (operation.parameters || []).map(one => [one.name, one.in, range(one)])),
    operation.requestBody ? make("p", {}, "Body: ", kinds(operation.requestBody.content)) : null,
    table(["Status", "When", "Answer"], Object.entries(operation.responses).map(([code, one]) => [code, words(one.description || ""), kinds(one.content)])));
}

function fill(description, caller) {
  const groups = new Map([[REST, []], ...GROUPS.map(([, title]) => [title, []])]);
  for (const [path, methods] of Object.entries(description.paths)) for (const method of METHODS) {
    if (methods[method]) groups.get(groupOf(path)).push(operationEntry(path, method, methods[method], Boolean(caller.name)));
  }
  const titled = [...groups].filter(([, entries]) => entries.length).flatMap(([title, entries]) => [make("h2", {}, title), ...entries]);
  element.replaceChildren(make("p", {class: "quiet"}, "For programs: ", make("a", {href: "openapi.json"}, "openapi.json"), " (OpenAPI 3.1), ",
    make("a", {href: "asyncapi.json"}, "asyncapi.json"), " (topics and commands, AsyncAPI 3.0)."), ...titled);
}

async function open() {
  if (isOpen) return;   // it stays as it is while the daemon runs
  isOpen = true;
  try {
    fill(...await Promise.all([load("openapi.json"), load("session")]));
  } catch (error) {
    isOpen = false;
    element.replaceChildren(make("p", {role: "alert"}, "The daemon does not answer. Open this view again later."));
  }
}

export const addresses = {id: "addresses", title: null, element, open};
