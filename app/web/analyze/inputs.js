// The inputs of a form's fields, one for each kind of schema.

import { askJson } from "../api.js";
import { el, fill, uniqueId } from "../dom.js";
import { regionField, taskSelect } from "./regions.js";
import { boundsOf, namesOf, resolved } from "./schema.js";

const shared = (about) => ({
  id: about.id,
  "aria-describedby": about.describedBy,
  "aria-required": about.isRequired && "true",
});

/** By kind, what makes the input of a field; it tells each value by `put(input, value, problem)`. */
export const INPUTS = {
  choice(about, value, put) {
    const names = namesOf(about.schema);
    const select = el(
      "select",
      { ...shared(about), onchange: () => put(select, select.value || undefined) },
      (about.isNullable || about.fallback === undefined) &&
        el("option", { value: "" }, about.isNullable ? "by default" : "choose"),
      names.map((each) => el("option", { value: each }, each)),
    );
    select.value = value ?? about.fallback ?? "";
    return select;
  },

  switch(about, value, put) {
    const box = el("input", {
      ...shared(about),
      type: "checkbox",
      checked: value ?? about.fallback ?? false,
      onchange: () => put(box, box.checked),
    });
    return box;
  },

  number(about, value, put) {
    const { type, minimum, maximum } = about.schema;
    const input = el("input", {
      ...shared(about),
      type: "number",
      inputmode: type === "integer" ? "numeric" : "decimal",
      step: type === "integer" ? 1 : "any",
      min: minimum,
      max: maximum,
      placeholder: about.fallback ?? "",
      value: typeof value === "number" ? value : "",
      oninput: () =>
        put(input, input.value === "" ? undefined : Number(input.value), numberProblem(about, input)),
    });
    return input;
  },

  text(about, value, put) {
    const input = el("input", {
      ...shared(about),
      ...textOf(about, value),
      type: "text",
      oninput: () => put(input, input.value || undefined),
    });
    return offering(about, input);
  },

  "long-text"(about, value, put) {
    const input = el("textarea", {
      ...shared(about),
      ...textOf(about, value),
      rows: 2,
      oninput: () => put(input, input.value || undefined),
    });
    return input;
  },

  "number-or-text"(about, value, put) {
    const read = (text) => (/^\d{1,15}$/.test(text) ? Number(text) : text || undefined);
    const input = el("input", {
      ...shared(about),
      ...textOf(about, value),
      type: "text",
      oninput: () => put(input, read(input.value)),
    });
    return offering(about, input);
  },

  lines(about, value, put) {
    const { minItems = 0, maxItems = Infinity } = about.schema;
    const input = el("textarea", {
      ...shared(about),
      rows: 4,
      value: listOf(about, value).join("\n"),
      oninput: () => {
        const lines = input.value
          .split("\n")
          .map((line) => line.trim())
          .filter(Boolean);
        const fits = lines.length >= minItems && lines.length <= maxItems;
        put(
          input,
          lines.length ? lines : undefined,
          lines.length && !fits ? `${lines.length} lines; ${boundsOf(about.schema)} are taken.` : "",
        );
      },
    });
    return input;
  },

  choices(about, value, put) {
    const chosen = new Set(listOf(about, value));
    const names = namesOf(resolved(about.schema.items, about.root));
    const boxes = names.map((name) =>
      el(
        "label",
        { class: "choice" },
        el("input", {
          type: "checkbox",
          checked: chosen.has(name),
          onchange: (event) => {
            if (event.target.checked) chosen.add(name);
            else chosen.delete(name);
            put(group, chosen.size ? names.filter((each) => chosen.has(each)) : undefined);
          },
        }),
        name,
      ),
    );
    const group = el(
      "fieldset",
      { class: "field choices", "aria-describedby": about.describedBy },
      el("div", { class: "choices-list" }, boxes),
    );
    return group;
  },

  task: (about, _, put) =>
    taskSelect(
      about.task,
      () => about.task.params[about.name],
      (select) => put(select, select.value || undefined),
      shared(about),
    ),

  region: (about, value, put) => regionField(about, value, put),
};

// What the server has of a kind that a schema's format names.
const OFFERS = {
  collection: async () => (await askJson("index/")).collections.map((each) => each.name),
  classifier: async () => (await askJson("classifiers/")).classifiers.map((each) => each.collection),
};

/** A text field that offers what there is; any other text may be written as well. */
function offering(about, input) {
  const offers = OFFERS[about.schema.format];
  if (!offers) return input;
  const list = el("datalist", { id: uniqueId("offers") });
  input.setAttribute("list", list.id);
  about.beside.push(list);
  input.addEventListener("focus", async () => {
    // Without the key's scope nothing is offered, and the name can be written.
    const names = await offers().catch(() => []);
    fill(
      list,
      names.map((name) => el("option", { value: name })),
    );
  });
  return input;
}

/** What a form does not know is written as JSON. */
export function jsonInput(about, value, put) {
  const shown = value ?? about.fallback;
  const input = el("textarea", {
    ...shared(about),
    class: "mono",
    rows: 3,
    spellcheck: "false",
    placeholder: "JSON",
    value: shown === undefined || shown === null ? "" : JSON.stringify(shown, null, 1),
    oninput: () => {
      try {
        put(input, input.value.trim() ? JSON.parse(input.value) : undefined);
      } catch (error) {
        put(input, undefined, `Not JSON: ${error.message}`);
      }
    },
  });
  return input;
}

/** The list that a field shows; a shared setup may hold anything in its place. */
const listOf = (about, value) => (Array.isArray(value) ? value : (about.fallback ?? []));

const textOf = (about, value) => ({
  maxlength: about.schema.maxLength,
  placeholder: about.fallback ?? "",
  value: value ?? "",
  autocomplete: "off",
});

function numberProblem({ schema, name }, input) {
  const { badInput, rangeUnderflow, rangeOverflow, stepMismatch } = input.validity;
  if (badInput) return `${name} takes a number.`;
  if (rangeUnderflow || rangeOverflow)
    return `${input.value} does not fit: ${name} takes ${boundsOf(schema)}.`;
  return stepMismatch ? `${name} takes whole numbers.` : "";
}
