// The form of a new collection: what embeds its images is chosen among the operations of the catalog.

import { field } from "../analyze/fields.js";
import { askJson } from "../api.js";
import { refusalBox } from "../access.js";
import { el, fill } from "../dom.js";
import { prose } from "../prose.js";
import { stateMark } from "../shell.js";

// The target has a field of its own, and a collection keeps no crops. A text is searched by, not kept.
const NOT_OFFERED = ["target", "crop_format", "text"];

/**
 * @param {(name: string) => void} made called with the name of a new collection
 * @returns {{element: HTMLElement, begin: (open: boolean) => void}} `begin` asks for the operations
 */
export function creation(made) {
  const inner = el("div", {}, el("p", { class: "hint" }, "Asking the server which operations embed."));
  const details = el(
    "details",
    { class: "card creation" },
    el("summary", {}, el("h2", {}, "New collection")),
    inner,
  );

  async function begin(open) {
    details.open = open;
    try {
      const { operations } = await askJson("available_operations/");
      const able = Object.entries(operations).filter(
        ([, { data, params }]) => isVector(data) && params.properties.target,
      );
      fill(inner, form(able, made));
    } catch (error) {
      fill(
        inner,
        refusalBox(error, () => begin(open)),
      );
    }
  }

  return { element: details, begin };
}

const isVector = ({ type, items }) => type === "array" && items?.type === "number";

function form(able, made) {
  const operations = Object.fromEntries(able);
  // What answers now goes before what must be downloaded.
  const names = able
    .map(([name]) => name)
    .sort((a, b) => Number(operations[b].ready) - Number(operations[a].ready));
  let params = {};
  const name = el("input", {
    id: "new-name",
    required: true,
    maxlength: 64,
    pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*",
    placeholder: "photos",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "new-name-hint",
  });
  const operation = el(
    "select",
    { id: "new-operation", "aria-describedby": "new-operation-hint", onchange: follow },
    names.map(option),
  );
  const target = el("select", { id: "new-target" });
  const about = el("div", { id: "new-operation-hint", class: "stack tight" });
  const more = el("div", { class: "stack" });
  const problem = el("div", { role: "alert" });
  const button = el("button", { class: "button primary" }, "Make the collection");

  function option(type) {
    const { ready, state, progress } = operations[type];
    return el(
      "option",
      { value: type },
      ready ? type : `${type} (${stateMark(state, progress).textContent})`,
    );
  }

  function follow() {
    const {
      description,
      state,
      progress,
      allowed_targets: targets,
      default_target: usual,
      engines,
      params: schema,
    } = operations[operation.value];
    const obstacle = engines.find((engine) => engine.problem)?.problem;
    fill(
      about,
      el("p", { class: "hint" }, description, " "),
      stateMark(state, progress),
      obstacle && el("p", { class: "hint" }, prose(obstacle)),
    );
    fill(
      target,
      targets.map((each) => el("option", { value: each, selected: each === usual }, each)),
    );
    params = {};
    const offered = Object.keys(schema.properties).filter((each) => !NOT_OFFERED.includes(each));
    fill(
      more,
      offered.map((each) => field(each, schema, false, undefined, (value) => put(each, value), null)),
    );
  }

  function put(each, value) {
    if (value === undefined) delete params[each];
    else params[each] = value;
  }

  async function make(event) {
    event.preventDefault();
    button.disabled = true;
    fill(problem);
    try {
      await askJson("index/", {
        json: { name: name.value, operation: operation.value, target: target.value, params },
      });
      made(name.value);
    } catch (error) {
      fill(problem, refusalBox(error));
    }
    button.disabled = false;
  }

  follow();
  return el(
    "form",
    { class: "stack", onsubmit: make },
    labelled("Name", name, el("p", { id: "new-name-hint", class: "hint" }, "Letters, digits and . _ -")),
    labelled("What embeds the images", operation, about),
    labelled(
      "Which part of an image",
      target,
      el("p", { class: "hint" }, "all_faces and all_persons keep a vector of each that is found."),
    ),
    el("details", { class: "options" }, el("summary", {}, "More options"), more),
    problem,
    el("div", { class: "row end" }, button),
  );
}

const labelled = (title, input, hint) =>
  el("div", { class: "field" }, el("label", { class: "field-name", for: input.id }, title), input, hint);
