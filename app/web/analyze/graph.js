// The graph of the request: what runs, what is shared, what is cached, and how long it took.

import { askJson } from "../api.js";
import { byId, calmly, el, fill } from "../dom.js";
import { errorBox, milliseconds } from "../shell.js";
import { drawing, marksOf, timeOf } from "./nodes.js";
import { on, state, wireTasks } from "./state.js";

let asked = 0;
/** What a run would do now; null where there are no tasks. */
let plan = null;

export function mountGraph() {
  on("tasks params image", calmly(250, askForPlan));
  on("run", show);
}

async function askForPlan() {
  const mine = ++asked;
  if (!state.tasks.length || !state.operations) {
    plan = null;
    return show();
  }
  const sha256 = state.image?.sha256;
  const tasks = wireTasks();
  try {
    const answer = await askJson("plan/", { json: { tasks, ...(sha256 ? { image_sha256: sha256 } : {}) } });
    if (mine !== asked) return;
    plan = { ...answer, request: JSON.stringify(tasks) };
    show();
  } catch (error) {
    if (mine === asked) fill(byId("graph"), errorBox(error, askForPlan));
  }
}

/** The times of the last run, as long as the image and the tasks are those that ran. */
function timesOf() {
  const { run } = state;
  const isSame = run?.image === state.image && JSON.stringify(run?.request) === plan?.request;
  return isSame && run.timings ? run.timings.nodes : null;
}

function show() {
  const times = timesOf();
  if (!plan) {
    byId("graph-facts").textContent = "";
    return fill(
      byId("graph"),
      el(
        "p",
        { class: "empty" },
        "The graph of the tasks is shown here: each stage once, however many tasks share it.",
      ),
    );
  }
  const told = summary(times);
  byId("graph-facts").textContent = told;
  fill(
    byId("graph"),
    el(
      "div",
      {
        class: "graph-wrap",
        tabindex: 0,
        role: "group",
        "aria-label": "Drawing of the graph; a table follows",
      },
      drawing(plan, times, told),
    ),
    el("details", {}, el("summary", {}, "As a table"), nodeTable(times)),
  );
}

function summary(times) {
  const shared = plan.nodes.filter((node) => node.tasks.length > 1).length;
  const parts = [`${plan.tasks.length} tasks, ${plan.nodes.length} stages`];
  if (shared) parts.push(`${shared} shared`);
  if (plan.cold_models.length) parts.push(`cold: ${plan.cold_models.join(", ")}`);
  const computed = Object.values(times ?? {}).reduce((sum, each) => sum + each, 0);
  if (times) parts.push(computed ? `${milliseconds(computed)} of computing` : "all from the cache");
  else if (plan.estimate_ms !== null) parts.push(`about ${milliseconds(plan.estimate_ms)}`);
  return parts.join(" · ");
}

function nodeTable(times) {
  const head = ["stage", "model", "needs", "tasks", "marks", times ? "ms" : "estimate"];
  return el(
    "div",
    { class: "table-wrap" },
    el(
      "table",
      {},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          head.map((each) => el("th", { scope: "col" }, each)),
        ),
      ),
      el(
        "tbody",
        {},
        plan.nodes.map((node) =>
          el(
            "tr",
            {},
            [
              node.id,
              node.engine ?? "–",
              [...new Set(Object.values(node.needs))].join(", "),
              node.tasks.join(", "),
              marksOf(node, times).join(", ") || "–",
              timeOf(node, times) || "–",
            ].map((each) => el("td", {}, each)),
          ),
        ),
      ),
    ),
  );
}
