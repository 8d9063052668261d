// Tabs as the ARIA practices describe them: one stop of the Tab key, arrows move between them.

import { el, fill, uniqueId } from "./dom.js";

/**
 * A row of tabs over one panel.
 *
 * @param {string} label what the row is called
 * @param {Array<[string, () => Node]>} tabs each tab's title and what makes its content when it is shown
 * @returns {{element: HTMLElement, refresh: () => void}} `refresh` makes the shown content anew
 */
export function tabs(label, tabs) {
  const panel = el("div", { role: "tabpanel", id: uniqueId("panel"), tabindex: 0, class: "tab-panel" });
  let shown = 0;
  const buttons = tabs.map(([title], number) =>
    el(
      "button",
      {
        type: "button",
        role: "tab",
        id: uniqueId("tab"),
        "aria-controls": panel.id,
        onclick: () => show(number),
      },
      title,
    ),
  );
  const row = el("div", { role: "tablist", class: "tabs", "aria-label": label, onkeydown: move }, buttons);

  function show(number) {
    shown = number;
    for (const [index, button] of buttons.entries()) {
      button.setAttribute("aria-selected", String(index === shown));
      button.tabIndex = index === shown ? 0 : -1;
    }
    panel.setAttribute("aria-labelledby", buttons[shown].id);
    refresh();
  }

  function refresh() {
    fill(panel, tabs[shown][1]());
  }

  function move(event) {
    const last = buttons.length - 1;
    const next = { ArrowRight: shown + 1, ArrowLeft: shown - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show((next + buttons.length) % buttons.length);
    buttons[shown].focus();
  }

  show(0);
  return { element: el("div", {}, row, panel), refresh };
}
