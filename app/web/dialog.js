// Questions that a person answers before something happens.

import { el, uniqueId } from "./dom.js";

/**
 * Asks whether something shall be done.
 *
 * @param {{title: string, body: (Node|string)[], action: string, danger?: boolean}} question `action` is what the
 *   button says that does it
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, body, action, danger = false }) {
  const id = uniqueId("dialog");
  const dialog = el(
    "dialog",
    { class: "dialog", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-body` },
    el(
      "form",
      { method: "dialog", class: "stack" },
      el("h2", { id: `${id}-title` }, title),
      el("div", { id: `${id}-body`, class: "stack" }, body),
      el(
        "div",
        { class: "row end" },
        // Whoever presses Enter without reading has done nothing that cannot be undone.
        el("button", { class: "button", value: "cancel", autofocus: true }, "Cancel"),
        el("button", { class: `button ${danger ? "danger" : "primary"}`, value: "do" }, action),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "do");
    });
  });
}
