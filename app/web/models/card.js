// One model: how it stands, what it is, and what may be done with it.

import { el, uniqueId } from "../dom.js";
import { copyCommand, prose } from "../prose.js";
import { bytes, milliseconds, stateMark } from "../shell.js";
import { CHANGES } from "./changes.js";

/**
 * @param {object} model as GET /models/ tells it
 * @param {{mayChange: boolean, open: boolean, change: (name: string, model: object) => void}} page
 */
export function modelCard(model, { mayChange, open, change }) {
  const id = uniqueId("model");
  return el(
    "article",
    { class: "card model", "aria-labelledby": id, data: { engine: model.engine } },
    el(
      "div",
      { class: "row apart" },
      el("h3", { id, class: "mono" }, model.engine),
      el(
        "div",
        { class: "row" },
        model.in_use && el("span", { class: "chip" }, "in use"),
        stateMark(model.state, model.download?.percent),
      ),
    ),
    serves(model),
    model.download && progress(model),
    model.problem && !model.download && problem(model, mayChange),
    facts(model),
    el(
      "details",
      { open },
      el("summary", {}, "More about it"),
      model.limits && el("p", { class: "hint" }, model.limits),
      el(
        "dl",
        { class: "facts" },
        fact("Source", model.source),
        model.commit && fact("Commit", el("code", {}, model.commit)),
        model.input_size && fact("Image size", model.input_size),
        fact(
          "Memory",
          model.memory_bytes ? `about ${bytes(model.memory_bytes)} when it is loaded` : "next to none",
        ),
      ),
    ),
    mayChange && changes(model, change, id),
  );
}

function serves({ operations, chosen_for, state }) {
  const here = state !== "absent" && state !== "downloading";
  return el(
    "ul",
    { class: "serves", "aria-label": "Serves" },
    operations.map((name) => {
      const chosen = chosen_for.includes(name);
      const [word, told] = !chosen
        ? ["", "Another model is taken, unless this one is asked for"]
        : here
          ? ["chosen", "Requests of this operation are answered by this model"]
          : ["needed", "Requests of this operation need this model"];
      return el(
        "li",
        { class: `chip ${chosen ? "accent" : ""}`, title: told },
        name,
        word && el("span", {}, `· ${word}`),
      );
    }),
  );
}

function facts(model) {
  const size = model.size_bytes ? bytes(model.size_bytes) : "part of its package";
  return el(
    "dl",
    { class: "facts" },
    fact("Weights", model.kind === "bundled" && model.size_bytes ? `${size}, in its package` : size),
    fact("Licence", model.licence),
    model.cost_ms && fact("Takes", `about ${milliseconds(model.cost_ms)} on two cores`),
  );
}

const fact = (name, value) => [el("dt", {}, name), el("dd", {}, value)];

function progress({ engine, download }) {
  const { percent, done_bytes, total_bytes, bytes_per_second, waiting } = download;
  const left = bytes_per_second > 0 ? (total_bytes - done_bytes) / bytes_per_second : null;
  const told = waiting
    ? `Waits for another download; ${bytes(total_bytes)} are to come.`
    : [
        `${bytes(done_bytes)} of ${bytes(total_bytes)}`,
        bytes_per_second !== null && `${bytes(bytes_per_second)} a second`,
        left !== null && `${duration(left)} left`,
      ]
        .filter(Boolean)
        .join(", ");
  return el(
    "div",
    { class: "progress" },
    el("progress", { max: 100, value: percent, "aria-label": `Download of ${engine}` }),
    el("p", { class: "hint" }, told),
  );
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function problem(model, mayChange) {
  const told = model.problem;
  if (model.state === "failed" || told.includes("The last download failed"))
    return el("div", { class: "callout error" }, el("p", {}, prose(told)), copyCommand(told));
  // What is merely not here is no fault, and a button brings it.
  if (mayChange && CHANGES.pull.fits(model)) return null;
  return [el("p", { class: "hint" }, prose(told)), el("div", {}, copyCommand(told))];
}

function changes(model, change, id) {
  const offered = Object.entries(CHANGES).filter(([, { fits }]) => fits(model));
  if (!offered.length) return null;
  return el(
    "div",
    { class: "row" },
    offered.map(([name, { label }]) =>
      el(
        "button",
        {
          type: "button",
          class: "button small",
          // Of many buttons with one name the model tells which it is.
          "aria-describedby": id,
          data: { change: name },
          onclick: () => change(name, model),
        },
        label(model),
      ),
    ),
  );
}
