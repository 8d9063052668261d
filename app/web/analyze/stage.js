// The image, and what was found drawn over it.

import { byId, el, fill, svg } from "../dom.js";
import { follow } from "./lighting.js";
import { askedShapes, shapesOf } from "./shapes.js";
import { on, state, tell } from "./state.js";

// With more shapes than these a task's words are shown only for the one that is pointed at.
const MAX_WORDS = 8;
const LINE_HEIGHT = 18;

const overlay = svg("svg", { class: "overlay", role: "img", preserveAspectRatio: "none" });
const picture = el("img", { alt: "" });
export const canvas = el("div", { class: "canvas" }, picture, overlay);
const resized = new ResizeObserver(() => draw());

export function mountStage() {
  follow(overlay);
  resized.observe(canvas);
  on("image", showImage);
  on("image tasks params run hidden", draw);
  showImage();
}

function showImage() {
  const { image } = state;
  byId("image-facts").textContent = image ? `${image.name}, ${image.width} × ${image.height}` : "";
  byId("stage").hidden = !image;
  if (!image) return;
  picture.src = image.picture;
  picture.alt = `The image to analyse: ${image.name}`;
  canvas.style.setProperty("--ratio", image.width / image.height);
  overlay.setAttribute("viewBox", `0 0 ${image.width} ${image.height}`);
  if (!canvas.isConnected) byId("stage").append(canvas);
}

/** Each task with what is drawn of it: what it found, or before that the box that it is told to work on. */
function drawn() {
  const results = state.run?.image === state.image ? state.run.results : new Map();
  const tasks = state.run?.image === state.image ? state.run.tasks : [];
  const answered = tasks
    .filter((task) => results.get(task.id)?.status === "success")
    .map((task) => [
      task,
      shapesOf(task.key, results.get(task.id), state.operations?.[task.type]?.data ?? {}),
    ]);
  const known = new Set(answered.map(([task]) => task.key));
  const asked = state.tasks.filter((task) => !known.has(task.key)).map((task) => [task, askedShapes(task)]);
  return [...answered, ...asked].filter(([, shapes]) => shapes.length);
}

function draw() {
  if (!state.image) return fill(byId("legend"));
  const layers = drawn();
  drawLegend(layers);
  const shown = layers.filter(([task]) => !state.hidden.has(task.key));
  const unit = state.image.width / (canvas.clientWidth || state.image.width);
  const before = new Set();
  const marks = shown.map(([task, shapes]) => {
    const words = shapes.map((shape) =>
      wordsOf(shape, task, unit, shapes.length <= MAX_WORDS && !shape.isRead, before),
    );
    return svg(
      "g",
      { class: `tone-${task.tone}` },
      shapes.map((shape) => outline(shape, unit, before)),
      words,
    );
  });
  fill(overlay, marks);
  const count = shown.reduce((sum, [, shapes]) => sum + shapes.length, 0);
  overlay.setAttribute(
    "aria-label",
    count ? `${count} marks on the image; the results tell of each.` : "Nothing is drawn yet.",
  );
  spread(unit);
}

function outline(shape, unit, before) {
  const corners = shape.polygon ?? cornersOf(shape.box);
  const wide = shape.box ? shape.box[2] - shape.box[0] : Infinity;
  const marks = (shape.points ?? []).map(([x, y]) =>
    svg("circle", { class: "landmark", cx: x, cy: y, r: Math.min(3.2 * unit, wide / 20) }),
  );
  if (!corners) return svg("g", { data: { shape: shape.key } }, marks);
  const points = corners.map((point) => point.join(",")).join(" ");
  // Of two tasks with one box both colours are seen.
  const isAgain = before.has(points);
  before.add(points);
  return svg(
    "g",
    {
      data: { shape: shape.key },
      class: `shape${shape.isRegion ? " region" : ""}${isAgain ? " again" : ""}`,
    },
    svg("polygon", { class: "halo", points }),
    svg("polygon", { class: "line", points }),
    marks,
  );
}

/** The corners of a box; null where there is none. */
export function cornersOf(box) {
  if (!box) return null;
  const [xmin, ymin, xmax, ymax] = box;
  return [
    [xmin, ymin],
    [xmax, ymin],
    [xmax, ymax],
    [xmin, ymax],
  ];
}

function wordsOf(shape, task, unit, isShown, before) {
  const [x, y] = shape.polygon?.[0] ?? shape.box ?? shape.points[0];
  const score =
    shape.score === null || shape.score === undefined ? "" : ` ${Math.round(shape.score * 100)} %`;
  const text = `${shape.words ? shorten(shape.words) : task.id}${score}`;
  const same = `${text} ${shape.polygon ?? shape.box}`;
  const isFirst = !before.has(same);
  before.add(same);
  return svg(
    "g",
    {
      class: `words${isShown && isFirst ? "" : " on-demand"}`,
      data: { shape: shape.key, x, y },
      transform: place(x, y, unit),
    },
    svg("rect", { class: "ground", width: 0, height: LINE_HEIGHT, rx: 3 }),
    svg("rect", { class: "tab", width: 4, height: LINE_HEIGHT, rx: 2 }),
    svg("text", { x: 9, y: 13 }, text),
  );
}

const shorten = (text) => (text.length > 28 ? `${text.slice(0, 27)}…` : text);

const place = (x, y, unit) => `translate(${x} ${y}) scale(${unit})`;

/** Puts the words above their shapes, inside the image and beside each other. */
function spread(unit) {
  const taken = [];
  const { width, height } = state.image;
  for (const words of overlay.querySelectorAll(".words")) {
    const ground = words.firstChild;
    const wide = words.lastChild.getComputedTextLength() + 15;
    ground.setAttribute("width", wide);
    const size = [wide * unit, LINE_HEIGHT * unit];
    const x = Math.max(0, Math.min(Number(words.dataset.x), width - size[0]));
    let y = Number(words.dataset.y) - size[1];
    if (y < 0) y = Math.min(Math.max(0, Number(words.dataset.y)), height - size[1]);
    if (!words.classList.contains("on-demand")) {
      const isTaken = () =>
        taken.some(
          ([left, top, w, h]) =>
            x < left + w && left < x + size[0] && y < top + h && top < y + size[1] - 0.01,
        );
      for (let tries = 0; isTaken() && tries < 8; tries++) y += size[1];
      taken.push([x, y, ...size]);
    }
    words.setAttribute("transform", place(x, y, unit));
  }
}

function drawLegend(layers) {
  fill(
    byId("legend"),
    layers.map(([task, shapes]) => {
      const isShown = !state.hidden.has(task.key);
      return el(
        "button",
        {
          type: "button",
          class: `legend-entry tone-${task.tone}`,
          "aria-pressed": String(isShown),
          title: `Show or hide ${task.id} on the image`,
          onclick: () => {
            if (isShown) state.hidden.add(task.key);
            else state.hidden.delete(task.key);
            const number = layers.findIndex(([each]) => each === task);
            tell("hidden");
            byId("legend").children[number]?.focus();
          },
        },
        el("span", { class: "swatch", "aria-hidden": "true" }),
        task.id,
        el("span", { class: "hint" }, shapes.length),
      );
    }),
  );
}
