// The items of a collection, a page at a time.

import { askJson } from "../api.js";
import { refusalBox } from "../access.js";
import { el, fill } from "../dom.js";
import { collectionPath, placeOf } from "./places.js";
import { tile, tiles } from "./tiles.js";

const PAGE = 24;

/** @returns {{element: HTMLElement, enter: () => void}} */
export function browseView(page) {
  // The ids after which the pages up to this one begin.
  let before = [null];
  let next = null;
  const list = el("div", { "aria-live": "off" });
  const place = el("p", { class: "hint", role: "status" });
  const back = el(
    "button",
    { type: "button", class: "button small", onclick: () => turn(-1) },
    "Previous page",
  );
  const on = el("button", { type: "button", class: "button small", onclick: () => turn(1) }, "Next page");
  const turning = el("div", { class: "row apart" }, place, el("div", { class: "row" }, back, on));
  const element = el("section", { class: "stack", "aria-label": "Items" }, turning, list);

  async function turn(way) {
    if (way > 0) before.push(next);
    if (way < 0) before.pop();
    await load();
    list.querySelector("a")?.focus();
  }

  async function load() {
    list.setAttribute("aria-busy", "true");
    // Whoever presses twice turns one page.
    back.disabled = on.disabled = true;
    next = null;
    const query = new URLSearchParams({ limit: PAGE });
    if (before.at(-1) !== null) query.set("after", before.at(-1));
    try {
      const told = await askJson(`${collectionPath(page.name)}items/?${query}`);
      next = told.next;
      // All of a page may have been deleted.
      if (!told.items.length && before.length > 1) return turn(-1);
      turning.hidden = !told.items.length;
      place.textContent = `Page ${before.length}, in order of the ids`;
      fill(list, told.items.length ? tiles("Items", told.items.map(shown)) : none(page));
    } catch (error) {
      fill(list, refusalBox(error, load));
    }
    back.disabled = before.length === 1;
    on.disabled = next === null;
    list.setAttribute("aria-busy", "false");
  }

  function shown({ id, metadata, width, height, regions }) {
    const size = width ? `${width} × ${height}` : "a vector alone";
    const found = regions === 1 ? "" : `, ${regions} regions`;
    return tile(page.name, { id, metadata, note: size + found }, () => {
      page.changed();
      if (!list.querySelector(".tile")) turn(0);
    });
  }

  return { element, enter: load };
}

/** What an empty collection says. */
export function none(page) {
  return el(
    "div",
    { class: "empty stack" },
    el("p", {}, `Nothing is in '${page.name}' yet.`),
    el("div", {}, el("a", { class: "button primary", href: placeOf(page.name, "add") }, "Add images")),
  );
}
