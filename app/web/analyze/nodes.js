// The drawing of a graph: its stages in layers, what is shared, cached and cold, and each one's time.

import { svg } from "../dom.js";
import { milliseconds } from "../shell.js";
import { layered } from "./layering.js";
import { isEmpty, state } from "./state.js";

const NODE = { width: 172, height: 58 };
const TASK = { width: 122, height: 30 };
const GAP = { x: 38, y: 16 };

const COLD = { absent: "not downloaded", downloading: "downloading", failed: "failed to load" };

/** What a node is marked with, in words. */
export function marksOf(node, times) {
  const marks = [];
  if (node.tasks.length > 1) marks.push(`shared by ${node.tasks.length}`);
  if (times?.[node.id] === 0) marks.push(...withoutTime(node));
  else if (!times && node.cached) marks.push("cached");
  else if (!times && node.engine && node.state !== "ready") marks.push(COLD[node.state] ?? "cold");
  return marks;
}

/** Why a node took no time: its result lay in the cache, or nothing came to it. */
function withoutTime(node) {
  const results = node.tasks.map((id) => state.run.results.get(id));
  if (!results.some((result) => result?.status === "success")) return ["did not run"];
  return results.some((result) => result && !isEmpty(result)) ? ["cached"] : [];
}

/** How long a node took, or takes as a rule; empty where nobody knows. */
export function timeOf(node, times) {
  const ms = times?.[node.id];
  if (ms) return milliseconds(ms);
  return !times && node.estimate_ms ? `~${milliseconds(node.estimate_ms)}` : "";
}

/**
 * The graph as a drawing.
 *
 * @param {object} plan as the server tells
 * @param {Object<string, number>|null} times of the nodes in milliseconds, where it ran
 * @param {string} label of the drawing
 */
export function drawing(plan, times, label) {
  const taskId = (task) => `task:${task.operation_id}`;
  const tasks = plan.tasks.map(taskId);
  const ids = ["image", ...plan.nodes.map((node) => node.id), ...tasks];
  const edges = [
    ...plan.nodes.flatMap((node) => [...new Set(Object.values(node.needs))].map((need) => [need, node.id])),
    ...plan.tasks.filter((task) => task.node).map((task) => [task.node, taskId(task)]),
  ];
  const { layers, paths } = layered(ids, edges, new Set(tasks));
  const sizeOf = (id) => (tasks.includes(id) || id === "image" ? TASK : NODE);
  const rows = Math.max(...layers.map((layer) => layer.length));
  const height = rows * (NODE.height + GAP.y) + GAP.y;
  const places = new Map();
  let x = 2;
  for (const layer of layers) {
    const wide = layer.some((id) => sizeOf(id) === NODE && !id.includes("@")) ? NODE.width : TASK.width;
    const step = height / layer.length;
    layer.forEach((id, row) =>
      places.set(id, { x, y: step * (row + 0.5), width: id.includes("@") ? wide : sizeOf(id).width }),
    );
    x += wide + GAP.x;
  }
  const width = x - GAP.x + 2;
  const most = Math.max(...Object.values(times ?? {}), 1);
  const whole = svg(
    "svg",
    { class: "graph", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    [...paths.values()].map((path) => curve(path.map((id) => places.get(id)))),
    pill("image", places.get("image"), "is-image"),
    plan.nodes.map((node) => nodeBox(node, places.get(node.id), times, most)),
    plan.tasks.map((task) =>
      pill(
        task.operation_id,
        places.get(taskId(task)),
        `tone-${toneOf(task)}${task.node ? "" : " is-refused"}`,
        task.error_message,
      ),
    ),
  );
  whole.style.setProperty("--natural-width", `${width}px`);
  return whole;
}

/** The colour of the task that a pill stands for. */
const toneOf = (task) => state.tasks.find((each) => each.id === task.operation_id)?.tone ?? 0;

function curve(places) {
  let d = `M${places[0].x + places[0].width} ${places[0].y}`;
  for (let step = 1; step < places.length; step++) {
    const [from, to] = [places[step - 1], places[step]];
    const start = from.x + from.width;
    const middle = (start + to.x) / 2;
    d += ` C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`;
    if (step < places.length - 1) d += ` H${to.x + to.width}`;
  }
  return svg("path", { class: "edge", d });
}

function pill(text, place, kind, title) {
  return svg(
    "g",
    { class: `pill ${kind}`, transform: `translate(${place.x} ${place.y - TASK.height / 2})` },
    title && svg("title", {}, title),
    svg("rect", { width: TASK.width, height: TASK.height, rx: TASK.height / 2 }),
    svg("text", { x: TASK.width / 2, y: 19.5, "text-anchor": "middle" }, cut(text, 15)),
  );
}

function nodeBox(node, place, times, most) {
  const marks = marksOf(node, times);
  const ms = times?.[node.id] ?? 0;
  const isCold = node.engine && node.state !== "ready";
  const kinds = [
    "node",
    marks.includes("cached") && "is-cached",
    node.tasks.length > 1 && "is-shared",
    isCold && "is-cold",
  ];
  const about =
    node.engine ??
    Object.values(node.params)
      .map((each) => (typeof each === "string" ? each : JSON.stringify(each)))
      .join(", ");
  return svg(
    "g",
    {
      class: kinds.filter(Boolean).join(" "),
      transform: `translate(${place.x} ${place.y - NODE.height / 2})`,
    },
    svg("title", {}, `${node.operation} ${JSON.stringify(node.params)} ${node.engine ?? ""}`),
    svg("rect", { class: "node-ground", width: NODE.width, height: NODE.height, rx: 8 }),
    ms > 0 &&
      svg("rect", {
        class: "node-time",
        x: 10,
        y: NODE.height - 5,
        width: Math.max(2, (NODE.width - 20) * (ms / most)),
        height: 3,
        rx: 1.5,
      }),
    svg("text", { class: "node-name", x: 10, y: 18 }, cut(node.operation, 22)),
    svg("text", { class: "node-about", x: 10, y: 33 }, cut(about, 26)),
    svg("text", { class: "node-marks", x: 10, y: 48 }, marks.join(" · ")),
    svg("text", { class: "node-ms", x: NODE.width - 10, y: 48, "text-anchor": "end" }, timeOf(node, times)),
  );
}

const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
