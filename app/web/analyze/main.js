// The page on which an image is analysed.

import { askJson } from "../api.js";
import { byId, calmly, fill, icon } from "../dom.js";
import { errorBox, mountShell, say } from "../shell.js";
import { mountGraph } from "./graph.js";
import { mountPicker } from "./picker.js";
import { mountRequests } from "./requests.js";
import { mountResults } from "./results.js";
import { mountRun } from "./run.js";
import { mountSource, useSample } from "./source.js";
import { mountStage } from "./stage.js";
import { on, setTasks, setupHash, setupOf, state, tell } from "./state.js";
import { mountTasks, refreshStates } from "./tasks.js";

const CHANGING = ["loading", "downloading"];

mountShell("analyze");
mountStage();
mountTasks();
mountPicker();
mountRun();
mountResults();
mountGraph();
mountRequests();
mountSharing();
await loadCatalog();
await mountSource();
await takeSetup();
const keepSetup = calmly(200, () => history.replaceState(null, "", setupHash()));
on("tasks params image", keepSetup);

async function loadCatalog() {
  try {
    const { operations } = await askJson("available_operations/");
    // Without a prototype: a setup may name a type "constructor".
    state.operations = Object.assign(Object.create(null), operations);
    fill(byId("catalog-problem"));
    tell("operations");
    watchStates();
    document.addEventListener("visibilitychange", () => document.hidden || lookAgain());
  } catch (error) {
    fill(byId("catalog-problem"), errorBox(error, startAgain));
  }
}

async function startAgain() {
  await loadCatalog();
  if (state.operations && !state.tasks.length) await takeSetup();
}

/** Looks again while models load or come down. */
function watchStates() {
  if (Object.values(state.operations).some((each) => CHANGING.includes(each.state)))
    setTimeout(() => lookAgain().finally(watchStates), 3000);
}

/** Shows the states that the operations have now; a server that does not answer changes nothing. */
async function lookAgain() {
  const { operations } = await askJson("available_operations/").catch(() => ({ operations: {} }));
  for (const [type, facts] of Object.entries(operations)) Object.assign(state.operations[type] ?? {}, facts);
  refreshStates();
}

/** The setup of the address; without one that of the first sample. */
async function takeSetup() {
  const { sample, tasks, isDamaged } = setupOf(location.hash);
  if (isDamaged) say("The address holds no setup that can be read; it may have been cut off.", "error");
  if (tasks) setTasks(tasks);
  if (sample || !tasks) await useSample(sample ?? "astronaut", { keepTasks: Boolean(tasks) });
}

function mountSharing() {
  fill(byId("share"), icon("share"), "Share setup");
  byId("share").addEventListener("click", async () => {
    history.replaceState(null, "", setupHash());
    try {
      await navigator.clipboard.writeText(location.href);
      say("The address of this setup is copied. It holds the tasks, and no image and no key.");
    } catch {
      say("The page's address holds this setup: copy it from the browser's bar.");
    }
  });
  addEventListener("hashchange", takeSetup);
}
