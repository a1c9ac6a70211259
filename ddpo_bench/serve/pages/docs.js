// The API as openapi.json describes it.
import { element } from "./dom.js";
import { getJson } from "./api.js";

const description = await getJson("openapi.json");
const schemas = description.components?.schemas ?? {};

function resolved(schema) {
  return schema?.$ref ? schemas[schema.$ref.split("/").pop()] : schema ?? {};
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items ?? {})}`;
  return schema.enum ? schema.enum.join(" or ") : schema.type ?? "any";
}

function table(caption, heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map((row) => element("tr", {}, ...row.map((text) => element("td", {}, String(text ?? "")))));
  return element("div", { class: "scroll" },
    element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body)));
}

function fields(schema) {
  const { properties = {}, required = [] } = resolved(schema);
  return Object.entries(properties).map(([name, field]) =>
    [name, typeOf(field), required.includes(name) ? "required" : field.default, field.description]);
}

function operation(method, path, { summary, description: text, parameters = [], requestBody, responses }) {
  const parts = [element("h2", {}, element("code", {}, `${method.toUpperCase()} ${path}`)), element("p", {}, text ?? summary)];
  const given = parameters.map((each) => [each.name, typeOf(each.schema), each.in, each.description]);
  if (given.length) parts.push(table("Parameters", ["name", "type", "in", "what"], given));
  const body = requestBody?.content?.["application/json"]?.schema;
  if (body) parts.push(table("Body, JSON", ["name", "type", "default", "what"], fields(body)));
  const answers = Object.entries(responses).map(([status, { description: what, content = {} }]) =>
    [status, what, Object.entries(content).map(([kind, { schema }]) => `${kind} ${schema ? typeOf(schema) : ""}`).join(", ")]);
  parts.push(table("Answers", ["status", "what", "content"], answers));
  return element("section", {}, ...parts);
}

document.getElementById("operations").append(
  ...Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, it]) => operation(method, path, it))));
