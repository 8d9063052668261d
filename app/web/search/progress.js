// How far images are on their way into a collection, and what is to be known of each.

import { el, fill } from "../dom.js";
import { counted } from "./collections.js";
import { pathOf } from "./drop.js";
import { placeOf } from "./places.js";

/**
 * Counts what became of images, and shows what went wrong.
 *
 * @param {number} total how many are sent
 * @param {HTMLElement} report where it is shown
 */
export function progressOf(total, report) {
  const started = performance.now();
  const counts = { added: 0, replaced: 0, failed: 0, empty: 0 };
  const bar = el("progress", { max: total, value: 0, "aria-label": "Images sent" });
  const problems = el("tbody");
  const table = el(
    "div",
    { class: "table-wrap", hidden: true },
    el(
      "table",
      {},
      el(
        "thead",
        {},
        el("tr", {}, el("th", { scope: "col" }, "Image"), el("th", { scope: "col" }, "What to know")),
      ),
      problems,
    ),
  );
  fill(report, bar, table);
  const count = () => counts.added + counts.replaced + counts.failed;

  function note({ file, item }) {
    if (item.status !== "success") counts.failed += 1;
    else if (item.replaced) counts.replaced += 1;
    else counts.added += 1;
    if (item.status === "success" && item.regions === 0) counts.empty += 1;
    const told = [item.error_message, ...item.warnings].filter(Boolean).join(" ");
    if (told) problems.append(el("tr", {}, el("td", {}, pathOf(file)), el("td", {}, told)));
    table.hidden = !problems.children.length;
    bar.value = count();
  }

  function words() {
    const rate = count() / ((performance.now() - started) / 1000);
    const left = total - count();
    return [
      `${count()} of ${counted(total, "image")}`,
      counts.replaced && `${counts.replaced} replaced`,
      counts.failed && `${counts.failed} failed`,
      counts.empty && `${counts.empty} without a region to embed`,
      left && rate && `about ${Math.ceil(left / rate)} s left`,
    ]
      .filter(Boolean)
      .join(", ");
  }

  function end(collection) {
    if (counts.added + counts.replaced === 0) return;
    report.append(
      el(
        "div",
        { class: "row" },
        el("a", { class: "button primary", href: placeOf(collection) }, "Search them"),
        el("a", { class: "button", href: placeOf(collection, "browse") }, "See the items"),
      ),
    );
  }

  return { note, words, count, end };
}
