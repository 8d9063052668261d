// The page of the models: what the server has, how it stands now, and what may be done.

import { askJson } from "../api.js";
import { otherKeyButton, refusalBox } from "../access.js";
import { byId, calmly, el, fill } from "../dom.js";
import { bytes, errorBox, mountShell, say } from "../shell.js";
import { modelCard } from "./card.js";
import { CHANGES, done } from "./changes.js";

const BUSY_MS = 1000;
const CALM_MS = 10000;

// In this order: what a person waits for or must see to comes first.
const GROUPS = [
  ["Under way", "", ["downloading", "loading"]],
  ["Failed", "they are tried again by the next request, once their problem is mended", ["failed"]],
  ["In memory", "they answer at once", ["ready"]],
  ["On this machine", "the first request that needs one loads it", ["on_disk", "unloaded"]],
  ["Not downloaded", "requests for them are told so at once", ["absent"]],
];

// `problem` is why the last look failed; empty where it did not.
const page = { told: null, timer: 0, problem: "" };
const find = byId("find");
const operation = byId("operation");
const state = byId("state");

mountShell("models");
fill(
  state,
  el("option", { value: "" }, "Any"),
  GROUPS.map(([title]) => el("option", {}, title)),
);
fill(operation, el("option", { value: "" }, "Any"));
byId("filters").addEventListener("submit", (event) => event.preventDefault());
find.addEventListener("input", calmly(120, show));
for (const select of [operation, state]) select.addEventListener("change", show);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
refresh();

async function refresh() {
  clearTimeout(page.timer);
  try {
    const told = await askJson("models/");
    announce(page.told?.models ?? [], told.models);
    const first = page.told === null;
    page.told = told;
    page.problem = "";
    if (first) offerOperations(told.models);
    show();
  } catch (error) {
    if (page.told === null) fill(byId("models"), refusalBox(error, refresh));
    // What stays the same is not told again.
    else if (page.problem !== error.message) fill(byId("notice"), errorBox(error, refresh));
    page.problem = error.message;
  }
  byId("models").setAttribute("aria-busy", "false");
  // A page that nobody looks at asks for nothing.
  if (page.told === null || document.hidden) return;
  page.timer = setTimeout(refresh, isBusy() && !page.problem ? BUSY_MS : CALM_MS);
}

const isBusy = () => page.told.models.some((model) => GROUPS[0][2].includes(model.state));

function offerOperations(models) {
  const names = [...new Set(models.flatMap((model) => model.operations))].sort();
  operation.append(...names.map((name) => el("option", {}, name)));
}

/** Says what has come to an end since the last look. */
function announce(before, now) {
  const was = new Map(before.map((model) => [model.engine, model.state]));
  for (const { engine, state: is, problem } of now) {
    const had = was.get(engine);
    if (had === "downloading" && ["on_disk", "unloaded"].includes(is))
      say(`${engine} is downloaded. The next request loads it.`);
    if (had === "downloading" && ["absent", "failed"].includes(is)) say(problem, "error");
    if (had === "loading" && is === "ready") say(`${engine} is ready.`);
    if (had === "loading" && is === "failed") say(problem, "error");
  }
}

function show() {
  const { models, may_change: mayChange, memory_bytes: memory, memory_budget_bytes: budget } = page.told;
  const here = models.filter((model) => !["absent", "downloading"].includes(model.state)).length;
  const loaded = models.filter((model) => model.state === "ready").length;
  const of = budget === null ? "" : ` of ${bytes(budget)}`;
  byId("summary").textContent =
    `${here} of ${models.length} are on the server; ${loaded} are loaded and take about ${bytes(memory)}${of} of memory.`;
  if (!page.problem) fill(byId("notice"), notice(models, mayChange));
  const shown = models.filter(isWanted);
  keepingPlace(byId("models"), () =>
    fill(byId("models"), shown.length ? GROUPS.map((group) => groupOf(group, shown, mayChange)) : nothing()),
  );
}

function notice(models, mayChange) {
  if (!mayChange) {
    const told =
      "Your key may see the models. To download, load and unload them, the server wants one with the scope admin.";
    return el("div", { class: "callout" }, el("p", {}, told), otherKeyButton(told));
  }
  const kept = models.filter((model) => model.state === "absent");
  if (!kept.length || kept.some((model) => !model.obstacle)) return null;
  return el(
    "div",
    { class: "callout warning" },
    el(
      "p",
      {},
      "This server does not download models: it was told to keep off the network, or to pinned weights.",
    ),
    el("p", { class: "hint" }, "Each model below says which command brings it here."),
  );
}

function isWanted(model) {
  const words = `${model.engine} ${model.weights} ${model.licence} ${model.source}`.toLowerCase();
  const group = GROUPS.find(([title]) => title === state.value);
  return (
    find.value
      .toLowerCase()
      .split(/\s+/)
      .every((word) => words.includes(word)) &&
    (!operation.value || model.operations.includes(operation.value)) &&
    (!group || group[2].includes(model.state))
  );
}

function groupOf([title, meaning, states], models, mayChange) {
  const members = models.filter((model) => states.includes(model.state));
  if (!members.length) return null;
  // What answers requests goes before what could.
  members.sort((a, b) => Number(b.chosen_for.length > 0) - Number(a.chosen_for.length > 0));
  return el(
    "section",
    { class: "model-group", "aria-label": title },
    el("h2", {}, title, el("span", { class: "hint" }, `${members.length}${meaning ? `: ${meaning}` : ""}`)),
    el(
      "div",
      { class: "model-grid" },
      members.map((model) => modelCard(model, { mayChange, open: isOpen(model.engine), change })),
    ),
  );
}

function nothing() {
  const reset = () => {
    byId("filters").reset();
    show();
    find.focus();
  };
  return el(
    "div",
    { class: "empty stack" },
    el("p", {}, "No model fits what you look for."),
    el("div", {}, el("button", { type: "button", class: "button small", onclick: reset }, "Show all")),
  );
}

async function change(name, model) {
  try {
    const now = await done(name, model);
    if (now === null) return;
    say(CHANGES[name].told(model));
  } catch (error) {
    say(error.message, "error");
  }
  await refresh();
  // It may have moved to another group.
  cardOf(model.engine)?.scrollIntoView({ block: "nearest" });
}

const cardOf = (engine) => byId("models").querySelector(`[data-engine="${CSS.escape(engine)}"]`);

const isOpen = (engine) => cardOf(engine)?.querySelector("details").open ?? false;

/** Draws anew without taking the focus away: it stays in the card where it was. */
function keepingPlace(list, draw) {
  const held = list.contains(document.activeElement) ? document.activeElement : null;
  const engine = held?.closest("[data-engine]")?.dataset.engine;
  const wanted = held?.dataset.change
    ? `[data-change="${held.dataset.change}"]`
    : held?.tagName.toLowerCase();
  draw();
  if (!engine) return;
  const card = cardOf(engine);
  const place = card?.querySelector(wanted) ?? card?.querySelector("button, summary");
  place?.focus({ preventScroll: true });
}
