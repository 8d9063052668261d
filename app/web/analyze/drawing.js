// Lets a person draw a box on the image.

import { svg } from "../dom.js";
import { say } from "../shell.js";
import { canvas, cornersOf } from "./stage.js";
import { state } from "./state.js";

/** Gives up the drawing that is under way. */
let giveUp = null;

/**
 * A box that is drawn by dragging over the image.
 *
 * @param {object} task whose box it is
 * @returns {Promise<number[]|null>} its edges in whole pixels; null where it was given up
 */
export function drawBox(task) {
  if (!state.image) {
    say("Choose an image first, or type the box's edges.", "error");
    return Promise.resolve(null);
  }
  giveUp?.();
  const { width, height } = state.image;
  const box = svg("polygon", { class: "line" });
  const sheet = svg(
    "svg",
    {
      class: `overlay drawing tone-${task.tone}`,
      viewBox: `0 0 ${width} ${height}`,
      preserveAspectRatio: "none",
    },
    box,
  );
  canvas.append(sheet);
  canvas.scrollIntoView({ block: "nearest" });
  say("Drag a box over the image; Escape gives up.");

  /** Where the pointer is, in pixels of the image and inside of it. */
  function at(event) {
    const shown = sheet.getBoundingClientRect();
    const x = ((event.clientX - shown.left) / shown.width) * width;
    const y = ((event.clientY - shown.top) / shown.height) * height;
    return [Math.max(0, Math.min(width, Math.round(x))), Math.max(0, Math.min(height, Math.round(y)))];
  }

  return new Promise((resolve) => {
    let start = null;
    let edges = null;

    function end(drawn) {
      document.removeEventListener("keydown", escape);
      sheet.remove();
      giveUp = null;
      resolve(drawn);
    }

    function escape(event) {
      if (event.key === "Escape") end(null);
    }

    giveUp = () => end(null);
    document.addEventListener("keydown", escape);
    sheet.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      sheet.setPointerCapture(event.pointerId);
      start = at(event);
    });
    sheet.addEventListener("pointermove", (event) => {
      if (!start) return;
      const [x, y] = at(event);
      edges = [Math.min(x, start[0]), Math.min(y, start[1]), Math.max(x, start[0]), Math.max(y, start[1])];
      box.setAttribute(
        "points",
        cornersOf(edges)
          .map((point) => point.join(","))
          .join(" "),
      );
    });
    sheet.addEventListener("pointerup", () => {
      start = null;
      // A click without a drag is no box.
      if (edges && edges[0] < edges[2] && edges[1] < edges[3]) end(edges);
    });
  });
}
