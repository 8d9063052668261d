// One collection: its facts, and the views of it.

import { ask, askJson } from "../api.js";
import { refusalBox } from "../access.js";
import { confirmed } from "../dialog.js";
import { el, fill, icon } from "../dom.js";
import { say } from "../shell.js";
import { addingView } from "./adding.js";
import { browseView } from "./browse.js";
import { counted } from "./collections.js";
import { duplicatesView } from "./duplicates.js";
import { forgetItems } from "./pictures.js";
import { collectionPath, placeOf } from "./places.js";
import { queryView } from "./query.js";

const VIEWS = {
  search: ["Search", queryView],
  browse: ["Items", browseView],
  add: ["Add images", addingView],
  duplicates: ["Duplicates", duplicatesView],
};

/**
 * Shows a collection in an element.
 *
 * @returns {{name: string, show: (place: URLSearchParams) => void}} `show` changes to the view that an address names
 */
export function collectionView(main, name) {
  const facts = el("p", { class: "row collection-facts" });
  const links = Object.entries(VIEWS).map(([view, [title]]) =>
    el("a", { href: placeOf(name, view), data: { view } }, title),
  );
  const body = el("div", {});
  const views = {};
  const page = { name, record: null, changed };
  let wanted = null;

  async function changed() {
    forgetItems();
    page.record = await askJson(collectionPath(name));
    fill(facts, told(page.record));
  }

  async function begin() {
    try {
      await changed();
      if (wanted) show(wanted);
    } catch (error) {
      fill(
        body,
        refusalBox(error, begin),
        el("p", {}, el("a", { href: "#" }, "See the collections that there are")),
      );
    }
  }

  function show(place) {
    wanted = place;
    const view = Object.hasOwn(VIEWS, place.get("view")) ? place.get("view") : "search";
    for (const link of links) {
      if (link.dataset.view === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (page.record === null) return;
    views[view] ??= VIEWS[view][1](page);
    fill(body, views[view].element);
    views[view].enter(place);
  }

  forgetItems();
  fill(
    main,
    el("p", { class: "hint" }, el("a", { href: "#" }, "All collections")),
    el(
      "div",
      { class: "row apart" },
      el("h1", { class: "collection-name" }, name),
      el(
        "button",
        { type: "button", class: "button small danger", onclick: () => drop(page) },
        icon("trash"),
        "Delete the collection",
      ),
    ),
    facts,
    el("nav", { class: "views", "aria-label": "Views of the collection" }, links),
    body,
  );
  begin();
  return { name, show };
}

function told({
  operation,
  target,
  items,
  vectors,
  space,
  dimensions,
  pending,
  rebuilt,
  takes_text: takesText,
}) {
  const space_ = space ?? "fixed by the first image";
  return [
    el("span", { class: "chip accent" }, counted(items, "item")),
    el("span", { class: "chip" }, counted(vectors, "vector"), dimensions && ` of ${dimensions} numbers`),
    el("span", { class: "chip" }, operation),
    el("span", { class: "chip" }, target),
    takesText && el("span", { class: "chip" }, "by image and by text"),
    el("span", { class: "chip", title: "Vectors compare only inside one space" }, `space: ${space_}`),
    rebuilt !== null &&
      el("span", { class: "chip" }, `search structure ${Math.round(rebuilt * 100)} % rebuilt`),
    pending > 0 &&
      rebuilt === null &&
      el(
        "span",
        { class: "chip", title: "Until then they are searched one by one" },
        `${pending} not indexed yet`,
      ),
  ];
}

async function drop({ name, record }) {
  const sure = await confirmed({
    title: `Delete the collection '${name}'?`,
    body: [
      el(
        "p",
        {},
        `${record ? counted(record.items, "item") : "All items"} with their vectors and pictures go with it. This cannot be undone.`,
      ),
    ],
    action: "Delete the collection",
    danger: true,
  });
  if (!sure) return;
  try {
    await ask(collectionPath(name), { method: "DELETE" });
    say(`The collection '${name}' is deleted.`);
    location.hash = "";
  } catch (error) {
    say(error.message, "error");
  }
}
