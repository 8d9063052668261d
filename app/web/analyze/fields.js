// A field of a form for each property of a JSON schema.

import { el, uniqueId } from "../dom.js";
import { prose } from "../prose.js";
import { INPUTS, jsonInput } from "./inputs.js";
import { alternatives, boundsOf, fieldOf, resolved } from "./schema.js";

/**
 * A field for a property.
 *
 * @param {string} name of the property
 * @param {object} root the schema of all params
 * @param {boolean} isRequired
 * @param {unknown} value undefined where the default holds
 * @param {(value: unknown) => void} change takes a value that fits, and undefined for the default
 * @param {object} task whose params they are
 * @returns {HTMLElement}
 */
export function field(name, root, isRequired, value, change, task) {
  const property = resolved(root.properties[name], root);
  const { kind, schema } = fieldOf(property, root);
  const id = uniqueId(name);
  const errorId = `${id}-error`;
  const hintId = `${id}-hint`;
  const error = el("p", { class: "field-error", id: errorId, hidden: true });
  const about = {
    id,
    name,
    root,
    property,
    schema,
    isRequired,
    task,
    describedBy: `${hintId} ${errorId}`,
    fallback: property.default,
    beside: [],
    isNullable: alternatives(property, root).isNullable,
  };

  /** Takes a value, or refuses it with the reason beside the field. */
  function put(input, value, problem) {
    error.textContent = problem ?? "";
    error.hidden = !problem;
    input.setAttribute("aria-invalid", String(Boolean(problem)));
    if (!problem) change(isSame(value, property.default) ? undefined : value);
  }

  const input = (INPUTS[kind] ?? jsonInput)(about, value, put);
  const isGroup = input.tagName === "FIELDSET";
  const title = el(
    isGroup ? "legend" : "label",
    { class: "field-name", ...(isGroup ? {} : { for: id }) },
    name,
    isRequired && el("span", { class: "field-required" }, " required"),
  );
  const hint = el("p", { class: "hint", id: hintId }, prose(hintOf(property, schema)));
  if (isGroup) {
    input.prepend(title);
    input.append(hint, error);
    return input;
  }
  if (kind === "switch")
    return el("div", { class: "field" }, el("div", { class: "choice" }, input, title), hint, error);
  return el("div", { class: "field" }, title, input, about.beside, hint, error);
}

function hintOf(property, schema) {
  const bounds = boundsOf(schema);
  const fallback = property.default;
  const shown =
    fallback === undefined || fallback === null
      ? ""
      : `Default: ${JSON.stringify(fallback).replace(/^"|"$/g, "")}.`;
  return [(property.description ?? "").replaceAll("\n", " "), bounds && `${capital(bounds)}.`, shown]
    .filter(Boolean)
    .join(" ");
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

const isSame = (a, b) => JSON.stringify(a) === JSON.stringify(b);
