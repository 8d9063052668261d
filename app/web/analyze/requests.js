// The request as a command, a program and a document to copy.

import { apiKey, ROOT } from "../api.js";
import { byId, calmly, el, fill } from "../dom.js";
import { copyButton } from "../shell.js";
import { tabs } from "../tabs.js";
import { on, state, wireTasks } from "./state.js";

const SERVER = ROOT.href.replace(/\/$/, "");

export function mountRequests() {
  const shown = tabs("The request as", [
    ["curl", () => snippet(curl())],
    ["Python", () => snippet(python())],
    ["JSON", () => snippet(JSON.stringify(body(), null, 2))],
    ["Answer", answer],
  ]);
  fill(byId("request"), shown.element);
  on("tasks params image run", calmly(100, shown.refresh));
}

function snippet(text) {
  return el(
    "div",
    { class: "snippet" },
    copyButton(() => text),
    el("pre", { class: "code", tabindex: 0 }, text),
  );
}

function answer() {
  if (!state.run?.results.size) return el("p", { class: "empty" }, "After a run its whole answer is here.");
  const whole = () => JSON.stringify(state.run.answer, null, 2);
  // What is shown leaves out crops and the ends of vectors, which would fill the page.
  const short = (name, value) => {
    if (name === "cropped_image_base64" && value) return `${value.slice(0, 16)}…`;
    return Array.isArray(value) && value.length > 16 && typeof value[0] === "number"
      ? [...value.slice(0, 4), "…"]
      : value;
  };
  return el(
    "div",
    { class: "snippet" },
    copyButton(whole, "Copy all"),
    el("pre", { class: "code", tabindex: 0 }, JSON.stringify(state.run.answer, short, 2)),
  );
}

const body = () =>
  state.image?.url ? { image_url: state.image.url, tasks: wireTasks() } : { tasks: wireTasks() };

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Where a sample is fetched from; undefined for another image. */
const sampleAddress = () =>
  state.image?.sample && `${SERVER}/playground/samples/${encodeURIComponent(state.image.sample)}`;

const fileName = () => state.image?.name ?? "image.jpg";

/** The tasks, one a line. */
const lines = (indent) =>
  `[\n${wireTasks()
    .map((task) => indent + JSON.stringify(task))
    .join(",\n")}]`;

function curl() {
  const key = apiKey.get() ? ` \\\n  -H "Authorization: Bearer $SIGHTGRAPH_API_KEY"` : "";
  if (state.image?.url) {
    const json = `{"image_url": ${JSON.stringify(state.image.url)},\n "tasks": ${lines("  ")}}`;
    return `curl -s ${SERVER}/analyze_image/${key} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(json)}`;
  }
  const sample = sampleAddress() ? `curl -s ${sampleAddress()} -o ${fileName()}\n` : "";
  return `${sample}curl -s ${SERVER}/analyze_image_upload/${key} \\\n  -F ${formFile()} \\\n  --form-string tasks_json=${quoted(lines("  "))}`;
}

/** curl reads commas and semicolons in the name of a file unless it is quoted once more. */
function formFile() {
  const name = fileName();
  return /^[\w.-]+$/.test(name)
    ? `image_file=@${name}`
    : quoted(`image_file=@"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`);
}

function python() {
  const key = apiKey.get() ? `, api_key=os.environ["SIGHTGRAPH_API_KEY"]` : "";
  const tasks = wireTasks()
    .map((task) => `    ${literal(task)},\n`)
    .join("");
  const image = literal(state.image?.url ?? fileName());
  const imports = [key && "import os\n", sampleAddress() && "from urllib.request import urlretrieve\n"];
  const standard = imports.filter(Boolean).join("");
  const fetched = sampleAddress() ? `urlretrieve(${literal(sampleAddress())}, ${image})\n` : "";
  return `${standard}${standard && "\n"}from app.client import Sightgraph

${fetched}tasks = [
${tasks}]

with Sightgraph(${literal(SERVER)}${key}) as server:
    for name, result in server.stream(${image}, tasks):
        print(name, result.status, result.error_message or result.items or result.data)
`;
}

/** A value as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`)
      .join(", ")}}`;
  return JSON.stringify(value);
}
