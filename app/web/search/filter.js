// Conditions on the metadata of items, which all have to hold; or any filter, written as JSON.

import { el, iconButton, uniqueId } from "../dom.js";

const RELATIONS = [
  ["equals", "is"],
  ["in", "is one of"],
  ["gte", "is at least"],
  ["lte", "is at most"],
  ["gt", "is more than"],
  ["lt", "is less than"],
];

/** @returns {{element: HTMLElement, value: () => object|null}} `value` throws an Error where what is written is no filter */
export function filterForm() {
  const rows = el("div", { class: "stack tight" });
  const json = el("textarea", {
    class: "mono",
    rows: 3,
    spellcheck: "false",
    id: uniqueId("filter"),
    placeholder: '{"or": [{"kind": "cat"}, {"year": {"gte": 2020}}]}',
  });
  const written = el(
    "div",
    { class: "field", hidden: true },
    el("label", { class: "field-name", for: json.id }, "Filter as JSON"),
    json,
  );
  const add = el(
    "button",
    { type: "button", class: "button small", onclick: () => begin().querySelector("input").focus() },
    "Add a condition",
  );
  const asJson = el("input", { type: "checkbox", onchange: change });
  const element = el(
    "fieldset",
    { class: "filter stack tight" },
    el("legend", { class: "field-name" }, "Only items whose metadata fit"),
    rows,
    written,
    el("div", { class: "row" }, add, el("label", { class: "choice hint" }, asJson, "write it as JSON")),
  );

  function begin() {
    const row = conditionRow(() => {
      row.remove();
      add.focus();
    });
    rows.append(row);
    return row;
  }

  function change() {
    if (asJson.checked && !json.value) {
      const built = conditions(rows);
      json.value = built ? JSON.stringify(built) : "";
    }
    written.hidden = !asJson.checked;
    rows.hidden = add.hidden = asJson.checked;
  }

  function value() {
    if (!asJson.checked) return conditions(rows);
    if (!json.value.trim()) return null;
    try {
      return JSON.parse(json.value);
    } catch (error) {
      throw new Error(`The filter is not JSON: ${error.message}`);
    }
  }

  return { element, value };
}

function conditionRow(remove) {
  return el(
    "div",
    { class: "condition" },
    el("input", {
      type: "text",
      "aria-label": "Metadata field",
      placeholder: "field",
      data: { part: "key" },
    }),
    el(
      "select",
      { "aria-label": "Relation", data: { part: "relation" } },
      RELATIONS.map(([value, words]) => el("option", { value }, words)),
    ),
    el("input", {
      type: "text",
      "aria-label": "Value",
      placeholder: "value",
      title:
        'A number, true, false, null or a text; "12" in quotes is a text. Several are separated by commas.',
      data: { part: "value" },
    }),
    iconButton("close", "Remove the condition", remove),
  );
}

function conditions(rows) {
  const read = [...rows.children].map((row) =>
    Object.fromEntries(
      [...row.querySelectorAll("[data-part]")].map(({ dataset, value }) => [dataset.part, value.trim()]),
    ),
  );
  const built = read
    .filter(({ key }) => key)
    .map(({ key, relation, value }) => ({ [key]: comparison(relation, value) }));
  if (!built.length) return null;
  return built.length === 1 ? built[0] : { and: built };
}

function comparison(relation, value) {
  if (relation === "equals") return scalar(value);
  return {
    [relation]: relation === "in" ? value.split(",").map((each) => scalar(each.trim())) : scalar(value),
  };
}

/** What is no other JSON value is a text. */
function scalar(text) {
  try {
    const read = JSON.parse(text);
    return typeof read === "object" && read !== null ? text : read;
  } catch {
    return text;
  }
}
