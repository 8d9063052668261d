// An item as a tile: its picture, what it is called, what is known of it, and what may be done with it.

import { ask } from "../api.js";
import { confirmed } from "../dialog.js";
import { el, icon, iconButton } from "../dom.js";
import { say } from "../shell.js";
import { picture } from "./pictures.js";
import { itemPath, placeOf } from "./places.js";

const SCORE = new Intl.NumberFormat("en", { minimumFractionDigits: 3, maximumFractionDigits: 3 });

/**
 * @param {string} collection
 * @param {{id: string, metadata?: object, score?: number, bbox?: number[]|null, note?: string}} item
 * @param {() => void} deleted called when the item is gone
 */
export function tile(collection, { id, metadata = {}, score, bbox = null, note }, deleted) {
  const element = el(
    "li",
    { class: "tile", data: { id } },
    picture(collection, id, bbox),
    el(
      "div",
      { class: "tile-text" },
      score !== undefined && scored(score),
      el("p", { class: "tile-name", title: id }, id),
      note && el("p", { class: "hint" }, note),
      known(metadata),
    ),
    el(
      "div",
      { class: "row apart" },
      el(
        "a",
        {
          class: "button small",
          href: placeOf(collection, "search", { like: id }),
          "aria-label": `More like ${id}`,
        },
        icon("search"),
        "More like this",
      ),
      iconButton("trash", `Delete ${id}`, async () => {
        if (!(await deletedByWish(collection, [id]))) return;
        const beside = element.nextElementSibling ?? element.previousElementSibling;
        element.remove();
        // The focus goes on to the next one.
        beside?.querySelector("a").focus();
        deleted();
      }),
    ),
  );
  return element;
}

/** A list of tiles. */
export const tiles = (label, children) => el("ul", { class: "tiles", "aria-label": label }, children);

function scored(score) {
  const bar = el("span", { class: "score-bar", "aria-hidden": "true" }, el("span"));
  bar.firstChild.style.width = `${Math.max(0, Math.min(1, score)) * 100}%`;
  return el(
    "p",
    { class: "score" },
    el("span", { class: "visually-hidden" }, "Score "),
    SCORE.format(score),
    bar,
  );
}

function known(metadata) {
  const entries = Object.entries(metadata);
  if (!entries.length) return null;
  const shown = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  return el(
    "ul",
    { class: "known", "aria-label": "Metadata" },
    entries.map(([name, value]) =>
      el("li", { class: "chip", title: `${name}: ${shown(value)}` }, `${name}: ${shown(value)}`),
    ),
  );
}

/**
 * Deletes items once a person agreed.
 *
 * @param {string} collection
 * @param {string[]} ids
 * @param {string} [caution] what to think of before
 * @returns {Promise<boolean>} whether any is gone
 */
export async function deletedByWish(collection, ids, caution) {
  const what = ids.length === 1 ? `'${ids[0]}'` : `${ids.length} items`;
  const sure = await confirmed({
    title: `Delete ${what}?`,
    body: [
      el(
        "p",
        {},
        `It leaves the collection '${collection}' with its vectors and its picture, and cannot be brought back.`,
      ),
      caution ? el("p", {}, caution) : "",
      ids.length > 1
        ? el(
            "ul",
            { class: "named" },
            ids.map((id) => el("li", {}, id)),
          )
        : "",
    ],
    action: "Delete",
    danger: true,
  });
  if (!sure) return false;
  let gone = 0;
  try {
    for (const id of ids) {
      await ask(itemPath(collection, id), { method: "DELETE" });
      gone += 1;
    }
    say(`${what} ${ids.length === 1 ? "is" : "are"} deleted.`);
  } catch (error) {
    say(gone ? `${gone} of ${ids.length} are deleted. ${error.message}` : error.message, "error");
  }
  return gone > 0;
}
