// A vector as a small drawing with its size, and its numbers to copy.

import { el, svg } from "../dom.js";
import { copyButton } from "../shell.js";

const BARS = 96;
const HEIGHT = 40;

/** Whether a value is shown as a vector: a list of more numbers than a box or a point has. */
export const isVector = (value) =>
  Array.isArray(value) && value.length > 8 && value.every((each) => typeof each === "number");

export function vector(values) {
  const length = Math.sqrt(values.reduce((sum, each) => sum + each * each, 0));
  const first = values.slice(0, 4).map((each) => each.toFixed(4));
  return el(
    "div",
    { class: "vector" },
    sparkline(values),
    el(
      "div",
      { class: "row apart" },
      el(
        "span",
        { class: "hint" },
        el("strong", {}, `${values.length}`),
        ` numbers, length ${length.toFixed(3)}: `,
        el("code", {}, `${first.join(", ")}…`),
      ),
      copyButton(() => JSON.stringify(values), "Copy vector"),
    ),
  );
}

/** The range of the values in each of equal parts of the vector. */
function sparkline(values) {
  const count = Math.min(BARS, values.length);
  const parts = Array.from({ length: count }, (_, number) => {
    const part = values.slice(
      Math.floor((number * values.length) / count),
      Math.floor(((number + 1) * values.length) / count),
    );
    return [Math.min(...part, 0), Math.max(...part, 0)];
  });
  const least = Math.min(...parts.map(([low]) => low));
  const most = Math.max(...parts.map(([, high]) => high));
  const scale = HEIGHT / (most - least || 1);
  const bars = parts.map(([low, high], number) =>
    svg("rect", {
      x: number,
      y: (most - high) * scale,
      width: 0.8,
      height: Math.max((high - low) * scale, 0.4),
    }),
  );
  return svg(
    "svg",
    {
      class: "sparkline",
      viewBox: `0 0 ${count} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `A vector of ${values.length} numbers from ${least.toFixed(3)} to ${most.toFixed(3)}`,
    },
    bars,
  );
}
