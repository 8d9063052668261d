// The answers, each task's in its place, as they come.

import { byId, el, fill } from "../dom.js";
import { prose } from "../prose.js";
import { copyButton, errorBox, milliseconds } from "../shell.js";
import { follow } from "./lighting.js";
import { run } from "./run.js";
import { isEmpty, on, state } from "./state.js";
import { shown } from "./values.js";

const MARKS = { success: ["ok", "done"], skipped: ["idle", "skipped"], error: ["bad", "failed"] };

let drawnRun = null;
let cards = new Map();

export function mountResults() {
  follow(byId("results"));
  on("run", show);
  on("tasks", () => state.run || show());
  show();
}

function show() {
  const { run: current } = state;
  if (!current) return fill(byId("results"), nothingYet());
  const count = current.results.size;
  byId("results-facts").textContent =
    current.status === "running" ? `${count} of ${current.tasks.length}` : current.image.name;
  if (current !== drawnRun) {
    drawnRun = current;
    cards = new Map(
      current.tasks.map((task) => [
        task.id,
        el(
          "article",
          { class: `result tone-${task.tone} is-waiting`, "aria-label": `Result of ${task.id}` },
          headOf(task, null),
        ),
      ]),
    );
    fill(byId("results"), [...cards.values()]);
  }
  for (const task of current.tasks) {
    const result = current.results.get(task.id);
    const card = cards.get(task.id);
    if (result && card.classList.contains("is-waiting")) {
      card.classList.remove("is-waiting");
      fill(card, headOf(task, result), bodyOf(task, result));
    } else if (!result && current.status !== "running") fill(card, headOf(task, null, current.status));
  }
  if (current.error && !byId("run-error"))
    byId("results").prepend(el("div", { id: "run-error" }, errorBox(current.error, run)));
}

function nothingYet() {
  const wanted = state.tasks.length
    ? "Run the tasks to see what they find."
    : "Choose an image, add a task, and run it.";
  return el("p", { class: "empty" }, wanted);
}

function headOf(task, result, ended) {
  const [kind, words] = result ? MARKS[result.status] : ["idle", ended ? "no answer" : "waiting"];
  return el(
    "header",
    { class: "result-head" },
    el("span", { class: "swatch", "aria-hidden": "true" }),
    el("h3", {}, task.id),
    el("span", { class: "hint mono grow" }, task.type),
    el("span", { class: `state ${kind}` }, words),
    result?.status === "success" && el("span", { class: "hint" }, timeOf(result)),
  );
}

function bodyOf(task, result) {
  const schema = state.operations?.[task.type]?.data ?? {};
  return [
    result.status !== "success" && problemOf(task, result),
    result.warnings.map((warning) => el("p", { class: "callout warning" }, prose(warning))),
    result.items
      ? items(task, result.items, schema)
      : result.status === "success" && single(task, result, schema),
    el(
      "footer",
      { class: "result-foot" },
      el(
        "details",
        {},
        el("summary", {}, "JSON", madeBy(result.model)),
        el("pre", { class: "code", tabindex: 0, "aria-label": `JSON of ${task.id}` }, json(result)),
        copyButton(() => JSON.stringify(result, null, 2), "Copy JSON"),
      ),
    ),
  ];
}

const timeOf = (result) =>
  result.timing_ms ? milliseconds(result.timing_ms) : isEmpty(result) ? "" : "cached";

/** What made the data, and which vectors it may be compared with. */
function madeBy(model) {
  const parts = [model?.engine, model?.space && `space ${model.space}`].filter(Boolean);
  return parts.length ? el("span", { class: "hint" }, parts.join(" · ")) : null;
}

function problemOf(task, result) {
  const { caused_by: cause } = result;
  const isModel = [result.error_code, cause?.code].includes("model_unavailable");
  const form = () => {
    const card = byId(task.key);
    card?.scrollIntoView({ block: "center" });
    card?.querySelector("summary").focus();
  };
  return el(
    "div",
    { class: `callout ${result.status === "error" ? "error" : "warning"}` },
    el("p", {}, prose(result.error_message)),
    cause && el("p", { class: "hint" }, cause.stage ? `${cause.stage}: ` : "", cause.message),
    el(
      "div",
      { class: "row" },
      el("code", { class: "chip" }, result.error_code),
      isModel && el("a", { class: "button small", href: "playground/models" }, "Open the models"),
      !isModel &&
        byId(task.key) &&
        el("button", { type: "button", class: "button small", onclick: form }, "Change the task"),
    ),
  );
}

function single(task, result, schema) {
  return el(
    "div",
    { class: "result-body" },
    crop(result.cropped_image_base64, task.id, result.cropped_image_bbox && `${task.key}.region`),
    el("div", { class: "grow", data: { shape: task.key } }, shown(result.data, schema, schema, task.key)),
  );
}

function items(task, list, schema) {
  if (!list.length) return el("p", { class: "hint" }, "No region was found.");
  return el(
    "ol",
    { class: "items", "aria-label": `Items of ${task.id}` },
    list.map((item, number) => {
      const at = `${task.key}.${number}`;
      const words = [item.label, item.confidence !== null && `${Math.round(item.confidence * 100)} %`]
        .filter(Boolean)
        .join(" ");
      return el(
        "li",
        {
          class: "result-body",
          data: { shape: at },
          tabindex: 0,
          "aria-label": `${number + 1}: ${words || "region"}`,
        },
        crop(item.cropped_image_base64, `${task.id}, item ${number + 1}`, at),
        el(
          "div",
          { class: "grow stack tight" },
          el(
            "p",
            { class: "item-head" },
            el("strong", {}, `${number + 1}`),
            ` ${words} `,
            el("code", { class: "hint" }, item.bbox.join(", ")),
          ),
          item.error_message && el("p", { class: "callout warning" }, prose(item.error_message)),
          String(item.data) !== String(item.bbox) &&
            !item.error_message &&
            shown(item.data, schema, schema, at),
        ),
      );
    }),
  );
}

// The first characters of a file in base64.
const FORMATS = { iVBOR: "png", "/9j/": "jpeg", UklGR: "webp" };

function crop(content, of, shape) {
  if (!content) return null;
  const format = Object.entries(FORMATS).find(([start]) => content.startsWith(start))?.[1] ?? "png";
  return el("img", {
    class: "crop",
    src: `data:image/${format};base64,${content}`,
    alt: `Crop of ${of}`,
    data: shape ? { shape } : {},
  });
}

/** Crops and vectors are cut: they are shown above. */
function json(result) {
  const short = (name, value) => {
    if (name === "cropped_image_base64" && value)
      return `${value.slice(0, 12)}… (${value.length} characters)`;
    return Array.isArray(value) && value.length > 16 && typeof value[0] === "number"
      ? [...value.slice(0, 4), `… ${value.length} numbers`]
      : value;
  };
  return JSON.stringify(result, short, 2);
}
