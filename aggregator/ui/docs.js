// Renders openapi.json as readable pages: a section per tag, an entry per route, schemas at the end.

import { h, notify, show } from "./dom.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const slug = (text) => text.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");

/** Paragraphs, with `code` between back-ticks. */
function prose(text) {
  return (text ?? "").split("\n\n").filter((part) => part.trim() !== "").map((part) =>
    h("p", {}, part.split("`").map((piece, index) => (index % 2 === 1 ? h("code", {}, piece) : piece))));
}

/** A schema in one line; a named one as a link. */
function typeOf(schema) {
  if (!schema) return "nothing";
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return h("a", { href: `#schema-${slug(name)}` }, name);
  }
  const options = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (options) {
    const joint = schema.allOf ? " and " : " or ";
    return options.flatMap((option, index) => [index > 0 ? joint : null, typeOf(option)]);
  }
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const types = [schema.type ?? "any"].flat();
  if (types.includes("array")) return ["list of ", typeOf(schema.items), types.includes("null") ? " or null" : null];
  if (types.includes("object") && typeof schema.additionalProperties === "object") {
    return ["map of ", typeOf(schema.additionalProperties)];
  }
  return types.join(" or ") + (schema.format ? ` (${schema.format})` : "");
}

function table(caption, rows) {
  if (rows.length === 0) return null;
  return h("div", { class: "wide" }, h("table", {}, h("caption", {}, caption), h("tbody", {}, rows.map(([name, type, note]) =>
    h("tr", {}, h("th", { scope: "row", class: "code" }, name), h("td", {}, type), h("td", {}, note ?? ""))))));
}

function bodies(content) {
  return Object.entries(content ?? {}).map(([media, { schema }]) => [media, typeOf(schema), ""]);
}

function operation(method, path, route) {
  const parameters = (route.parameters ?? []).map((parameter) =>
    [parameter.name, typeOf(parameter.schema), `${parameter.in}${parameter.required ? ", required" : ""}. ${parameter.description ?? ""}`]);
  const answers = Object.entries(route.responses ?? {}).map(([code, answer]) => {
    const kinds = bodies(answer.content).map(([, type]) => type);
    return [code, kinds.length > 0 ? kinds : "no body", answer.description];
  });
  return h("details", { id: `${method}-${slug(path)}` },
    h("summary", {}, h("span", { class: "method" }, method.toUpperCase()), " ", h("code", {}, path), " ",
      h("span", { class: "quiet" }, route.summary)),
    prose(route.description),
    table("Parameters", parameters),
    table("Body", bodies(route.requestBody?.content)),
    table("Answers", answers));
}

function schemaEntry(name, schema) {
  const parts = [schema, ...(schema.allOf ?? [])];
  const required = new Set(parts.flatMap((part) => part.required ?? []));
  const fields = parts.flatMap((part) => Object.entries(part.properties ?? {})).map(([field, value]) =>
    [field, typeOf(value), `${required.has(field) ? "" : "May be left out. "}${value.description ?? ""}`]);
  const others = (schema.allOf ?? []).filter((part) => part.$ref).map((part) => h("p", {}, "And all fields of ", typeOf(part), "."));
  return h("details", { id: `schema-${slug(name)}` }, h("summary", {}, h("code", {}, name)), prose(schema.description), others,
    fields.length > 0 ? table("Fields", fields) : h("p", {}, typeOf({ ...schema, description: undefined })));
}

/** Opens the entry that the address names. */
function openNamed() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

async function render() {
  const response = await fetch("/api/v1/openapi.json");
  const api = await response.json();
  const tags = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((method) => item[method])) {
      const route = item[method];
      const tag = route.tags?.[0] ?? "other";
      if (!tags.has(tag)) tags.set(tag, []);
      tags.get(tag).push(operation(method, path, route));
    }
  }
  const sections = [...tags].map(([tag, entries]) =>
    h("section", {}, h("h2", { id: `tag-${slug(tag)}` }, tag[0].toUpperCase() + tag.slice(1)), entries));
  const schemas = Object.entries(api.components?.schemas ?? {}).map(([name, schema]) => schemaEntry(name, schema));
  show(h("h1", {}, `${api.info.title} API ${api.info.version}`), prose(api.info.description),
    h("p", {}, "Try it: ", h("code", {}, "curl --cacert \"$CAMPANILE_CA\" -H \"Authorization: Bearer $CAMPANILE_TOKEN\" \"$CAMPANILE_URL/api/v1/health\"")),
    sections, h("section", {}, h("h2", { id: "schemas" }, "Schemas"), schemas));
  openNamed();
}

addEventListener("hashchange", openNamed);
render().catch((error) => {
  show(h("h1", {}, "API"), h("p", {}, "The document could not be read: ", error.message), h("p", {}, h("a", { href: "/api/v1/openapi.json" }, "openapi.json")));
  if (document.getElementById("notice")) notify(error.message, true);
});
