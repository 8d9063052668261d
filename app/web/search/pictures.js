// The small pictures of items. They come with the items, behind the key: each is asked for when it is in sight.

import { askJson } from "../api.js";
import { el, svg } from "../dom.js";
import { itemPath } from "./places.js";

const AT_ONCE = 6;
const MAX_KEPT = 600;

const kept = new Map();
const waiting = [];
const makers = new WeakMap();
let asking = 0;

const inSight = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      inSight.unobserve(target);
      makers.get(target)();
    }
  },
  { rootMargin: "200px" },
);

/** An item as the server has it, asked for once. */
export function itemOf(collection, id) {
  const path = itemPath(collection, id);
  if (!kept.has(path)) {
    if (kept.size >= MAX_KEPT) kept.delete(kept.keys().next().value);
    const asked = inTurn(() => askJson(path));
    kept.set(path, asked);
    // What failed may succeed when it is looked at again.
    asked.catch(() => kept.delete(path));
  }
  return kept.get(path);
}

/** Items that were added anew look otherwise. */
export const forgetItems = () => kept.clear();

/**
 * The picture of an item, with a box drawn on it.
 *
 * @param {string} collection
 * @param {string} id
 * @param {number[]|null} box in pixels of the item's image
 */
export function picture(collection, id, box) {
  const frame = el("div", { class: "picture" });
  makers.set(frame, async () => {
    try {
      const { thumbnail_base64: thumbnail, width, height } = await itemOf(collection, id);
      if (!thumbnail) frame.append(el("span", { class: "hint" }, "No picture is kept"));
      else
        frame.append(
          el("img", { src: `data:image/jpeg;base64,${thumbnail}`, alt: "" }),
          boxed(box, width, height),
        );
    } catch {
      frame.append(el("span", { class: "hint" }, "The picture cannot be had"));
    }
  });
  inSight.observe(frame);
  return frame;
}

/** A box over a picture that is fitted into its frame; nothing where there is none. */
export function boxed(box, width, height) {
  if (!box || !width) return "";
  const [xmin, ymin, xmax, ymax] = box;
  const edges = { x: xmin, y: ymin, width: xmax - xmin, height: ymax - ymin };
  return svg(
    "svg",
    { class: "boxes", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("rect", { ...edges, class: "halo" }),
    svg("rect", edges),
  );
}

async function inTurn(ask) {
  while (asking >= AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
  asking += 1;
  try {
    return await ask();
  } finally {
    asking -= 1;
    waiting.shift()?.();
  }
}
