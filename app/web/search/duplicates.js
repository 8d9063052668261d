// Items of a collection that are nearly the same.

import { askJson } from "../api.js";
import { refusalBox } from "../access.js";
import { el, fill, uniqueId } from "../dom.js";
import { counted } from "./collections.js";
import { collectionPath } from "./places.js";
import { deletedByWish, tile, tiles } from "./tiles.js";

// By what they are compared, and how far they may differ.
const WAYS = {
  vector: {
    title: "By what they look like to the collection's model",
    field: "min_score",
    label: "Least score",
    bounds: { min: 0.5, max: 1, step: 0.01, value: 0.95 },
    words: (value) => `a cosine of at least ${value}`,
  },
  perceptual_hash: {
    title: "By their pixels: copies that were scaled or compressed again",
    field: "max_distance",
    label: "Most bits that may differ",
    bounds: { min: 0, max: 16, step: 1, value: 8 },
    words: (value) => `at most ${value} of 64 bits differ`,
  },
};

const CHAIN =
  "The items of a group are alike in a chain: each is like another one, which need not be the first. " +
  "See that none of these is wanted.";

/** @returns {{element: HTMLElement, enter: () => void}} */
export function duplicatesView(page) {
  const by = el(
    "select",
    { id: uniqueId("by"), onchange: follow },
    Object.entries(WAYS).map(([name, { title }]) => el("option", { value: name }, title)),
  );
  const bound = el("input", { type: "range", id: uniqueId("bound"), oninput: tell });
  const label = el("label", { class: "field-name", for: bound.id });
  const meaning = el("output", { class: "hint", for: bound.id });
  const status = el("p", { class: "hint", role: "status" });
  const results = el("div", { class: "stack" });
  const button = el("button", { class: "button primary" }, "Find duplicates");
  let asked = 0;
  const element = el(
    "div",
    { class: "stack" },
    el(
      "form",
      { class: "card stack narrow", onsubmit: find, "aria-label": "Find duplicates" },
      el("div", { class: "field" }, el("label", { class: "field-name", for: by.id }, "Compare"), by),
      el("div", { class: "field" }, label, bound, meaning),
      el("div", { class: "row end" }, button),
    ),
    status,
    results,
  );

  function follow() {
    const way = WAYS[by.value];
    for (const [name, value] of Object.entries(way.bounds)) bound[name] = value;
    label.textContent = way.label;
    tell();
  }

  function tell() {
    meaning.textContent = WAYS[by.value].words(bound.value);
  }

  async function find(event) {
    event?.preventDefault();
    // Only the answer to the last question is shown.
    const mine = ++asked;
    status.textContent = "Comparing all with all.";
    fill(results);
    try {
      const wanted = { by: by.value, [WAYS[by.value].field]: Number(bound.value) };
      const { groups } = await askJson(`${collectionPath(page.name)}duplicates/`, { json: wanted });
      if (mine !== asked) return;
      status.textContent = groups.length
        ? `${counted(groups.length, "group")}, the largest first.`
        : "No duplicates are found.";
      fill(
        results,
        groups.length
          ? groups.map(groupOf)
          : el(
              "div",
              { class: "empty" },
              el("p", {}, "No two items are that alike. Allow more to differ, and look again."),
            ),
      );
    } catch (error) {
      if (mine !== asked) return;
      status.textContent = "";
      fill(results, refusalBox(error));
    }
  }

  /** Without an item, a group is another one, or none: what a button would delete is asked for anew. */
  async function again() {
    const held = document.activeElement?.closest(".tile")?.dataset.id;
    await Promise.all([page.changed(), find()]);
    const beside = [...results.querySelectorAll(".tile")].find((each) => each.dataset.id === held);
    (beside?.querySelector("a") ?? button).focus();
  }

  function groupOf({ items }, place) {
    const ids = [...new Set(items.map(({ id }) => id))];
    const spare = isOneRegionEach(page.record) ? ids.slice(1) : [];
    const members = items.map(({ id, bbox }) => tile(page.name, { id, bbox }, again));
    const keepFirst = async () => {
      if (await deletedByWish(page.name, spare, spare.length > 1 ? CHAIN : undefined)) await again();
    };
    return el(
      "section",
      { class: "card stack", "aria-label": `Group ${place + 1}` },
      el(
        "div",
        { class: "row apart" },
        el("h2", {}, `${counted(ids.length, "item")} alike`),
        spare.length > 0 &&
          el(
            "button",
            { type: "button", class: "button small danger", onclick: keepFirst },
            `Keep the first, delete ${spare.length}`,
          ),
      ),
      tiles(`Items of group ${place + 1}`, members),
    );
  }

  follow();
  // Another view may have deleted what is shown.
  return { element, enter: () => results.hasChildNodes() && find() };
}

/** Whether a duplicate is the whole item: who has one face in common with another photo is none. */
const isOneRegionEach = ({ target }) => !target.startsWith("all_");
