// The tasks of the request, each with a form that its operation's schema gives.

import { byId, el, iconButton } from "../dom.js";
import { prose } from "../prose.js";
import { say, stateMark } from "../shell.js";
import { field } from "./fields.js";
import { factsOf } from "./picker.js";
import { fieldsOf } from "./schema.js";
import { addTask, freeId, on, removeTask, renameTask, state, tell } from "./state.js";

// States in which a task is answered, soon if not at once.
const CALM = ["ready", "on_disk", "unloaded"];

const cards = new Map();

export function mountTasks() {
  on("tasks", show);
  on("params", () => {
    for (const task of state.tasks)
      cards.get(task.key).querySelector(".task-params").textContent = paramsInShort(task);
  });
  on("operations", () => {
    cards.clear();
    show();
  });
  show();
}

function show() {
  const keys = new Set(state.tasks.map((task) => task.key));
  for (const key of cards.keys()) if (!keys.has(key)) cards.delete(key);
  for (const task of state.tasks) {
    if (!cards.has(task.key)) cards.set(task.key, card(task));
    const each = cards.get(task.key);
    each.dataset.task = task.id;
    const name = each.querySelector(".task-id");
    if (name !== document.activeElement) name.value = task.id;
  }
  const list = byId("tasks");
  const wanted = state.tasks.map((task) => cards.get(task.key));
  // Cards that stay are not touched: they may hold the focus.
  for (const each of [...list.children]) if (!wanted.includes(each)) each.remove();
  for (const [number, each] of wanted.entries())
    if (list.children[number] !== each) list.insertBefore(each, list.children[number] ?? null);
}

function card(task) {
  const operation = state.operations?.[task.type];
  const name = el("input", {
    class: "task-id mono",
    value: task.id,
    "aria-label": "Name of the task",
    maxlength: 128,
    spellcheck: "false",
    autocomplete: "off",
    onchange: rename,
  });

  function rename() {
    const id = name.value.trim();
    if (id && id !== task.id && state.tasks.some((each) => each.id === id))
      say(`There is another task '${id}'.`, "error");
    else if (id) renameTask(task, id);
    name.value = task.id;
  }

  function duplicate() {
    const copy = addTask(task.type, task.params, freeId(task.id), state.tasks.indexOf(task) + 1);
    cards.get(copy.key).querySelector(".task-id").focus();
  }

  function remove() {
    const at = state.tasks.indexOf(task);
    removeTask(task);
    const next = state.tasks[Math.min(at, state.tasks.length - 1)];
    (next ? cards.get(next.key).querySelector("summary") : byId("add-task")).focus();
  }

  return el(
    "li",
    { id: task.key, class: `task tone-${task.tone}` },
    el(
      "div",
      { class: "task-head" },
      el("span", { class: "swatch", "aria-hidden": "true" }),
      name,
      iconButton("copy", "Duplicate the task", duplicate),
      iconButton("trash", "Remove the task", remove),
    ),
    el(
      "details",
      { open: task.isNew },
      el(
        "summary",
        { title: operation?.description },
        el("span", { class: "mono" }, task.type),
        el("span", { class: "task-params" }, paramsInShort(task)),
        mark(operation),
      ),
      operation ? form(task, operation) : unknown(task),
    ),
  );
}

function form(task, operation) {
  const { main, common, required } = fieldsOf(operation, state.operations);

  function fieldFor(name) {
    return field(
      name,
      operation.params,
      required.has(name),
      task.params[name],
      (value) => {
        if (value === undefined) delete task.params[name];
        else task.params[name] = value;
        countChanged();
        tell("params");
      },
      task,
    );
  }

  const changed = el("span", { class: "hint" });
  function countChanged() {
    const count = common.filter((name) => name in task.params).length;
    changed.textContent = count ? ` ${count} changed` : "";
  }

  const more = common.length
    ? el(
        "details",
        { class: "more" },
        el("summary", {}, "More options", changed),
        el("div", { class: "stack" }, common.map(fieldFor)),
      )
    : null;
  countChanged();
  return el(
    "div",
    { class: "stack task-form" },
    el("p", { class: "hint" }, operation.description),
    !CALM.includes(operation.state) && el("p", { class: "callout warning small" }, prose(factsOf(operation))),
    main.map(fieldFor),
    more,
  );
}

/** The state of an operation, where it keeps a task from being answered. */
function mark(operation) {
  const isWorthTelling = operation && !CALM.includes(operation.state);
  return el(
    "span",
    { class: "task-state" },
    isWorthTelling && stateMark(operation.state, operation.progress),
  );
}

/** What a folded form would show: the values that are no defaults. */
function paramsInShort(task) {
  const values = Object.values(task.params).map(
    (value) => value?.task ?? (Array.isArray(value?.bbox) ? `box ${value.bbox.join(", ")}` : value),
  );
  return values
    .map((value) => (typeof value === "object" ? JSON.stringify(value) : String(value)))
    .join(", ");
}

/** An operation that this server lacks: a shared setup of another one, say. */
function unknown(task) {
  const text = state.operations
    ? `This server has no operation '${task.type}'. It is sent all the same, and the answer says so.`
    : "";
  return el(
    "div",
    { class: "stack task-form" },
    el("p", { class: "callout warning small" }, text),
    el("pre", { class: "code" }, JSON.stringify(task.params, null, 1)),
  );
}

/** Shows the states of operations anew, which downloads and loading change. */
export function refreshStates() {
  for (const task of state.tasks) {
    const operation = state.operations?.[task.type];
    cards.get(task.key)?.querySelector("summary .task-state").replaceWith(mark(operation));
  }
}
