// The dialog in which an operation is chosen for a new task.

import { byId, el, fill, iconButton } from "../dom.js";
import { prose } from "../prose.js";
import { bytes, stateMark } from "../shell.js";
import { groupOf, GROUPS } from "./schema.js";
import { addTask, state } from "./state.js";

export function mountPicker() {
  byId("add-task").addEventListener("click", open);
}

function open() {
  const search = el("input", {
    type: "search",
    placeholder: "Search: face, text, vector…",
    "aria-label": "Search operations",
    autocomplete: "off",
    oninput: show,
    onkeydown: walk,
  });
  const list = el("div", { class: "operations", onkeydown: walk });
  const count = el("p", { class: "hint", role: "status" });
  const dialog = el(
    "dialog",
    { class: "dialog picker", "aria-labelledby": "picker-title", onclose: () => dialog.remove() },
    el(
      "div",
      { class: "row apart" },
      el("h2", { id: "picker-title" }, "Add a task"),
      iconButton("close", "Close", () => dialog.close()),
    ),
    search,
    count,
    list,
  );

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = Object.entries(state.operations ?? {});
    const fits = all.filter(([type, each]) => {
      const text = `${type} ${each.description} ${each.details} ${groupOf(each)}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    fits.sort(([, a], [, b]) => b.ready - a.ready);
    count.textContent = `${fits.length} of ${all.length} operations`;
    fill(
      list,
      GROUPS.map((group) => [group, fits.filter(([, each]) => groupOf(each) === group)])
        .filter(([, those]) => those.length)
        .map(([group, those]) => el("section", {}, el("h3", {}, group), el("ul", {}, those.map(entry)))),
    );
  }

  function entry([type, operation]) {
    return el(
      "li",
      {},
      el(
        "button",
        { type: "button", class: "operation", onclick: () => choose(type, operation) },
        el(
          "span",
          { class: "row apart" },
          el("strong", {}, type),
          stateMark(operation.state, operation.progress),
        ),
        el("span", {}, operation.description),
        el("span", { class: "hint" }, prose(factsOf(operation))),
      ),
    );
  }

  function choose(type, operation) {
    dialog.close();
    const task = addTask(type, startingParams(operation));
    byId(task.key)?.querySelector("summary")?.focus();
    byId(task.key)?.scrollIntoView({ block: "nearest" });
  }

  /** Arrows go from one operation to the next; Enter in the search takes the first. */
  function walk(event) {
    const all = [...list.querySelectorAll("button")];
    const at = all.indexOf(document.activeElement);
    if (event.key === "Enter" && at < 0) all[0]?.click();
    else if (event.key === "ArrowDown") all[Math.min(at + 1, all.length - 1)]?.focus();
    else if (event.key === "ArrowUp") (at <= 0 ? search : all[at - 1]).focus();
    else return;
    event.preventDefault();
  }

  show();
  document.body.append(dialog);
  dialog.showModal();
  search.focus();
}

/** Of the operation's example what must be given, without names of tasks that are none of these. */
function startingParams(operation) {
  const { required = [], properties = {} } = operation.params;
  const given = required.filter(
    (name) => properties[name].format !== "task-id" && operation.example?.[name] !== undefined,
  );
  return Object.fromEntries(given.map((name) => [name, operation.example[name]]));
}

/** The model that would answer now, and what stands in the way. */
export function factsOf(operation) {
  const waiting = operation.engines.find((each) => each.problem);
  if (!operation.engine) return operation.ready ? "No model needed." : (waiting?.problem ?? "");
  const size = operation.size_bytes ? `, ${bytes(operation.size_bytes)}` : "";
  const remedy = ["absent", "failed"].includes(operation.state) && waiting ? ` ${waiting.problem}` : "";
  return `${operation.engine}, ${operation.licence}${size}.${remedy}`;
}
