// An operation's data as people read it, by the shape of its schema and its values.

import { el, svg } from "../dom.js";
import { alternatives, resolved } from "./schema.js";
import { shapeKind } from "./shapes.js";
import { isVector, vector } from "./vectors.js";

const NUMBER = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const SHARES = /^(confidence|probability|share|score|cosine)$/;
const LONG_LIST = 12;

/**
 * What shows a value.
 *
 * @param {unknown} value
 * @param {object} schema of the value
 * @param {object} root in which the schema's references lead
 * @param {string} at the key under which a shape of the value is drawn
 */
export function shown(value, schema, root, at) {
  if (value === null || value === undefined) return el("p", { class: "hint" }, "Nothing found.");
  if (typeof value === "string")
    return value ? el("blockquote", { class: "said" }, value) : el("p", { class: "hint" }, "An empty text.");
  if (typeof value !== "object") return el("p", { class: "figure" }, scalar(value, ""));
  if (isVector(value)) return vector(value);
  if (!Array.isArray(value)) return record(value, schema, root, at);
  if (!value.length) return el("p", { class: "hint" }, "An empty list.");
  if (!value.every((each) => each && typeof each === "object" && !Array.isArray(each)))
    return el("code", { class: "tuple" }, JSON.stringify(value).replaceAll(",", ", "));
  return table(value, itemsOf(schema, root), root, at);
}

function record(value, schema, root, at) {
  if (Object.values(value).every(isNothing)) return shown(null);
  const properties = propertiesOf(schema, root);
  const rows = Object.entries(value)
    .filter(([name]) => !isDrawn(properties[name], root, name))
    .map(([name, each]) => {
      const title = el("dt", { title: resolved(properties[name], root).description }, plain(name));
      return el(
        "div",
        { class: isBroad(each) ? "broad" : "" },
        title,
        el("dd", {}, inner(each, properties[name], root, `${at}.${name}`, name)),
      );
    });
  return el("dl", { class: "record", data: { shape: at } }, rows);
}

const isBroad = (value) =>
  isLong(value) ||
  (value !== null &&
    typeof value === "object" &&
    !isSmall(value) &&
    (!Array.isArray(value) || (value.length > 0 && typeof value[0] === "object")));

const isNothing = (value) =>
  value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length);

const isSmall = (value) =>
  value !== null &&
  typeof value === "object" &&
  !Array.isArray(value) &&
  Object.keys(value).length <= 4 &&
  Object.values(value).every((each) => typeof each !== "object");

const isLong = (value) => typeof value === "string" && (value.includes("\n") || value.length > 60);

function inner(value, schema, root, at, name) {
  if (isNothing(value)) return el("span", { class: "hint" }, "none");
  if (isLong(value)) return shown(value);
  if (isSmall(value))
    return el(
      "span",
      { class: "row" },
      Object.entries(value).map(([part, each]) =>
        el("span", {}, el("span", { class: "hint" }, `${plain(part)} `), scalar(each, part)),
      ),
    );
  if (typeof value === "object") return shown(value, schema ?? {}, root, at);
  return scalar(value, name);
}

function table(values, schema, root, at) {
  const properties = propertiesOf(schema, root);
  const names = [...new Set(values.flatMap(Object.keys))].filter(
    (name) => !isDrawn(properties[name], root, name),
  );
  const isNumber = (name) => values.every((each) => each[name] === null || typeof each[name] === "number");
  const head = el(
    "tr",
    {},
    names.map((name) =>
      el(
        "th",
        {
          scope: "col",
          class: isNumber(name) ? "number" : "",
          title: resolved(properties[name], root).description,
        },
        plain(name),
      ),
    ),
  );
  const rows = values.map((each, number) =>
    el(
      "tr",
      { data: { shape: `${at}.${number}` }, tabindex: number === 0 ? 0 : -1 },
      names.map((name) => el("td", { class: isNumber(name) ? "number" : "" }, cell(each[name], name))),
    ),
  );
  const body = el("tbody", { onkeydown: (event) => walk(event, body) }, rows);
  const whole = el("div", { class: "table-wrap" }, el("table", {}, el("thead", {}, head), body));
  return values.length > LONG_LIST
    ? el("details", { open: true }, el("summary", {}, `${values.length} entries`), whole)
    : whole;
}

/** A table is one stop of the Tab key; arrows move between its rows, which lights their shapes. */
function walk(event, body) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const rows = [...body.children];
  const next = step && rows[rows.indexOf(document.activeElement) + step];
  if (!next) return;
  event.preventDefault();
  document.activeElement.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function cell(value, name) {
  if (value === null || value === undefined) return el("span", { class: "hint" }, "–");
  if (typeof value === "object") return el("code", {}, JSON.stringify(value).replaceAll(",", ", "));
  return scalar(value, name);
}

function scalar(value, name) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") {
    const text = NUMBER.format(value);
    return SHARES.test(name) && value >= 0 && value <= 1 ? [bar(value), text] : text;
  }
  if (/^#[0-9a-f]{6}$/i.test(value)) return [colour(value), el("code", {}, value)];
  return value;
}

const bar = (share) =>
  svg(
    "svg",
    { class: "bar", viewBox: "0 0 40 8", "aria-hidden": "true" },
    svg("rect", { class: "bar-ground", width: 40, height: 8, rx: 2 }),
    svg("rect", { width: 40 * share, height: 8, rx: 2 }),
  );

const colour = (hex) =>
  svg(
    "svg",
    { class: "colour", viewBox: "0 0 14 14", "aria-hidden": "true" },
    svg("rect", { width: 14, height: 14, rx: 3, fill: hex }),
  );

const plain = (name) => name.replaceAll("_", " ");

/** Whether the image shows it better than words would. */
const isDrawn = (property, root, name) =>
  property !== undefined && shapeKind(property, root, name) !== undefined;

const propertiesOf = (schema, root) =>
  alternatives(schema ?? {}, root).options.find((each) => each.properties)?.properties ?? {};

const itemsOf = (schema, root) => alternatives(schema ?? {}, root).options.find((each) => each.items)?.items;
