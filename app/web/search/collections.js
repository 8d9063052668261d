// All collections, and making one.

import { askJson } from "../api.js";
import { refusalBox } from "../access.js";
import { el, fill } from "../dom.js";
import { creation } from "./creation.js";
import { picture } from "./pictures.js";
import { collectionPath, placeOf } from "./places.js";

const GLIMPSE = 4;
const NUMBER = new Intl.NumberFormat("en");
const DATE = new Intl.DateTimeFormat("en", { dateStyle: "medium" });

export const counted = (count, one, many = `${one}s`) =>
  `${NUMBER.format(count)} ${count === 1 ? one : many}`;

/** Shows them in an element. */
export function collectionsView(main) {
  const list = el(
    "div",
    { "aria-busy": "true" },
    el("p", { class: "hint" }, "Asking the server for its collections."),
  );
  const making = creation((name) => (location.hash = placeOf(name, "add")));
  fill(
    main,
    el("h1", {}, "Search"),
    el(
      "p",
      { class: "hint" },
      "A collection keeps a vector of every image that is put into it, or of every face or person in it. It is searched by what images look like.",
    ),
    list,
    making.element,
  );
  showAll(list, making);
}

async function showAll(list, making) {
  try {
    const { collections } = await askJson("index/");
    fill(
      list,
      collections.length
        ? el("ul", { class: "card-grid plain", "aria-label": "Collections" }, collections.map(card))
        : none(),
    );
    making.begin(collections.length === 0);
  } catch (error) {
    fill(
      list,
      refusalBox(error, () => showAll(list, making)),
    );
  }
  list.setAttribute("aria-busy", "false");
}

/** The pictures of a few items. */
function glimpse(name) {
  const strip = el("div", { class: "glimpse" });
  const show = async () => {
    const { items } = await askJson(`${collectionPath(name)}items/?limit=${GLIMPSE}`);
    strip.append(...items.map(({ id }) => picture(name, id, null)));
  };
  // A collection without its pictures is still there.
  show().catch(() => strip.remove());
  return strip;
}

function none() {
  return el(
    "div",
    { class: "empty" },
    el("p", {}, "There is no collection yet."),
    el("p", {}, "Make one below, put some images in, and search them by an image of your own."),
  );
}

function card({ name, operation, target, items, vectors, created_at: created, takes_text: takesText }) {
  return el(
    "li",
    { class: "card collection" },
    items > 0 && glimpse(name),
    el("h2", {}, el("a", { href: placeOf(name) }, name)),
    el("p", {}, counted(items, "item"), vectors !== items && `, ${counted(vectors, "vector")}`),
    el(
      "p",
      { class: "row" },
      el("span", { class: "chip" }, operation),
      el("span", { class: "chip" }, target),
      takesText && el("span", { class: "chip accent" }, "also by text"),
    ),
    el("p", { class: "hint" }, `Made on ${DATE.format(new Date(created))}`),
  );
}
