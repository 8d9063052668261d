// Sends the image with its tasks, and takes the answers as they come.

import { askLines } from "../api.js";
import { byId, el, fill, icon } from "../dom.js";
import { milliseconds, say } from "../shell.js";
import { requestOf } from "./source.js";
import { on, state, tell, wireTasks } from "./state.js";

let stopping = null;

export function mountRun() {
  fill(byId("run"), icon("run"), "Run", el("kbd", { "aria-hidden": "true" }, "Ctrl ↵"));
  fill(byId("stop"), icon("stop"), "Stop");
  byId("run").addEventListener("click", run);
  byId("stop").addEventListener("click", stop);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || document.querySelector("dialog[open]"))
      return;
    event.preventDefault();
    run();
  });
  on("run", showStatus);
}

/** What keeps the request from being sent; undefined where nothing does. */
function obstacle() {
  if (!state.image) return [byId("choose"), "Choose an image first."];
  if (!state.tasks.length) return [byId("add-task"), "Add a task first."];
  const wrong = byId("tasks").querySelector("[aria-invalid='true']");
  if (wrong) return [wrong, "A field does not fit yet."];
  const empty = [...byId("tasks").querySelectorAll("[aria-required='true']")].find((input) => !input.value);
  return empty && [empty, "A field that is required is empty."];
}

export async function run() {
  const found = obstacle();
  if (found) {
    const [place, reason] = found;
    place.closest("details")?.setAttribute("open", "");
    place.focus();
    say(reason, "error");
    return;
  }
  stopping?.abort();
  const mine = (stopping = new AbortController());
  const current = (state.run = {
    status: "running",
    image: state.image,
    tasks: state.tasks.map((task) => ({ ...task, params: structuredClone(task.params) })),
    results: new Map(),
    request: wireTasks(),
    answer: { results: {} },
    timings: null,
    error: null,
  });
  const isCurrent = () => state.run === current;
  tell("run");
  try {
    const [path, options] = requestOf(state.image, current.request);
    for await (const part of askLines(path, { ...options, signal: mine.signal })) {
      if (!isCurrent()) return;
      take(part, current);
      tell("run");
    }
    current.status = "done";
  } catch (error) {
    current.status = mine.signal.aborted ? "stopped" : "failed";
    if (!mine.signal.aborted) current.error = error;
  }
  if (isCurrent()) tell("run");
}

/** A part of the answer: the image's facts, a task's result, or at the end the times. */
function take(part, current) {
  const { operation_id: id, result, ...others } = part;
  if (result) {
    current.results.set(id, result);
    current.answer.results[id] = result;
    return;
  }
  Object.assign(current.answer, others);
  current.timings = others.timings_ms ?? current.timings;
  if (others.image) current.image.sha256 = others.image.sha256;
}

function stop() {
  stopping?.abort();
  byId("run").focus();
}

function showStatus() {
  const { status, tasks, results, timings } = state.run;
  byId("stop").hidden = status !== "running";
  const count = (kind) => [...results.values()].filter((each) => each.status === kind).length;
  const parts = [
    [count("success"), "done"],
    [count("skipped"), "skipped"],
    [count("error"), "failed"],
  ].filter(([number]) => number);
  const told = parts.map(([number, word]) => `${number} ${word}`).join(", ");
  byId("run-status").textContent = {
    running: `${results.size} of ${tasks.length} answered…`,
    done: `${told}${timings ? `, in ${milliseconds(timings.total)}` : ""}.`,
    stopped: `Stopped: ${results.size} of ${tasks.length} answered.`,
    failed: "The request failed.",
  }[status];
}
