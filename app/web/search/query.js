// Searching a collection: by an image, by a text, or by one of its own items.

import { ask } from "../api.js";
import { refusalBox } from "../access.js";
import { el, fill } from "../dom.js";
import { milliseconds } from "../shell.js";
import { none } from "./browse.js";
import { counted } from "./collections.js";
import { filterForm } from "./filter.js";
import { collectionPath } from "./places.js";
import { byImage, byItem, byText } from "./sought.js";
import { tile, tiles } from "./tiles.js";

// The server looks at no more.
const MAX_HITS = 1000;

/** @returns {{element: HTMLElement, enter: (place: URLSearchParams) => void}} */
export function queryView(page) {
  const ways = [byImage(run), ...(page.record.takes_text ? [byText()] : []), byItem(page)];
  let way = ways[0];
  let asked = null;

  const sought = el("div", { class: "sought" });
  const choice = el(
    "fieldset",
    { class: "segments" },
    el("legend", { class: "visually-hidden" }, "Search by"),
    ways.map((each) =>
      el(
        "label",
        {},
        el("input", { type: "radio", name: "way", value: each.name, onchange: () => choose(each) }),
        el("span", {}, each.title),
      ),
    ),
  );
  const many = number({ min: 1, max: 200, step: 1, value: 24 });
  const least = number({ min: -1, max: 1, step: 0.01, placeholder: "any" });
  const filter = filterForm();
  const button = el("button", { class: "button primary" }, "Search");
  const status = el("p", { class: "hint", role: "status" });
  const results = el("div", { class: "stack" });
  const element = el(
    "div",
    { class: "query" },
    el(
      "form",
      { class: "card stack query-form", onsubmit: submit, novalidate: true, "aria-label": "Search" },
      choice,
      sought,
      el("div", { class: "pair" }, labelled("Hits", many), labelled("Least score", least)),
      filter.element,
      button,
    ),
    el("section", { class: "stack query-results", "aria-label": "Hits" }, status, results),
  );

  function choose(chosen) {
    way = chosen;
    fill(sought, way.element);
    choice.querySelector(`[value="${way.name}"]`).checked = true;
  }

  function submit(event) {
    event.preventDefault();
    run();
  }

  async function run() {
    // Only the answer to the last question is shown.
    asked?.abort();
    const mine = (asked = new AbortController());
    try {
      const wanted = { k: Number(many.value) || 24, filter: filter.value() };
      if (least.value !== "") wanted.min_score = Number(least.value);
      status.textContent = "Searching.";
      await next(way, wanted, 0, mine);
    } catch (error) {
      if (mine === asked) fail(error);
    }
  }

  async function next(by, wanted, offset, mine) {
    const started = performance.now();
    const answer = await ask(`${collectionPath(page.name)}search/`, {
      ...by.request({ ...wanted, offset }),
      signal: mine.signal,
    });
    const { hits, warnings } = await answer.json();
    if (mine !== asked) return;
    if (offset === 0) {
      by.show?.(hits);
      const words = hits.length ? `${counted(hits.length, "hit")}, the most alike first` : "No hits";
      status.textContent = `${words}, in ${milliseconds(performance.now() - started)}.`;
      fill(
        results,
        warnings.map((each) => el("p", { class: "callout warning" }, each)),
        hits.length ? shown(hits) : nothing(wanted),
      );
    } else {
      results.querySelector(".more").replaceWith(...shown(hits));
      status.textContent = `${counted(offset + hits.length, "hit")}.`;
    }
    const seen = offset + hits.length;
    if (hits.length === wanted.k && seen < MAX_HITS)
      results.append(
        el(
          "button",
          {
            type: "button",
            class: "button more",
            onclick: (event) => {
              // A second press would bring the same hits again.
              event.currentTarget.disabled = true;
              more(by, { ...wanted, k: Math.min(wanted.k, MAX_HITS - seen) }, seen, mine);
            },
          },
          "More hits",
        ),
      );
  }

  async function more(by, wanted, offset, mine) {
    try {
      await next(by, wanted, offset, mine);
    } catch (error) {
      if (mine === asked) fail(error);
    }
  }

  function fail(error) {
    status.textContent = "";
    fill(results, refusalBox(error));
  }

  const shown = (hits) => [
    tiles(
      "Hits",
      hits.map((hit) => tile(page.name, noted(hit), page.changed)),
    ),
  ];

  function nothing({ min_score: score, filter: condition }) {
    if (!page.record.items) return none(page);
    const advice =
      score !== undefined || condition
        ? "Lower the least score, or leave conditions out."
        : "Another image may find something.";
    return el("div", { class: "empty" }, el("p", {}, "Nothing fits."), el("p", {}, advice));
  }

  function enter(place) {
    const like = place.get("like");
    if (asked === null)
      fill(
        results,
        page.record.items ? el("p", { class: "empty" }, "What is found is shown here.") : none(page),
      );
    if (like === null) return;
    const items = ways.find((each) => each.name === "item");
    choose(items);
    items.give(like);
    run();
  }

  choose(way);
  return { element, enter };
}

const noted = (hit) => ({
  ...hit,
  note: hit.bbox ? `region ${hit.region + 1}: ${hit.bbox.join(", ")}` : undefined,
});

const number = (properties) => el("input", { type: "number", inputmode: "decimal", ...properties });

const labelled = (title, input) =>
  el("label", { class: "field" }, el("span", { class: "field-name" }, title), input);
