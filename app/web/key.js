// The dialog in which a person gives an API key.

import { el } from "./dom.js";

// What a header can hold.
const PRINTABLE = /^[ -~]*$/;

let open = null;

/**
 * Asks for a key; several requests that want one share the dialog.
 *
 * @param {string} reason why it is asked for; shown
 * @param {{get: () => string, set: (key: string) => void}} kept where the key is kept
 * @returns {Promise<boolean>} whether another key was given
 */
export function askForKey(reason, kept) {
  open ??= shown(reason, kept).finally(() => (open = null));
  return open;
}

function shown(reason, kept) {
  const input = el("input", {
    id: "api-key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    value: kept.get(),
    "aria-describedby": "api-key-why api-key-problem",
  });
  const problem = el("p", { id: "api-key-problem", class: "field-error", role: "alert", hidden: true });
  const dialog = el(
    "dialog",
    { class: "dialog", "aria-labelledby": "api-key-title" },
    el(
      "form",
      { method: "dialog", class: "stack", onsubmit: submit },
      el("h2", { id: "api-key-title" }, "API key"),
      el("p", { id: "api-key-why", class: "hint" }, reason),
      el("label", { class: "field" }, el("span", { class: "field-name" }, "Key"), input),
      problem,
      el(
        "p",
        { class: "hint" },
        "It is kept in this browser tab only, and forgotten when the tab is closed.",
      ),
      el(
        "div",
        { class: "row end" },
        el("button", { class: "button", value: "cancel", formnovalidate: true }, "Cancel"),
        el("button", { class: "button primary", value: "use" }, "Use this key"),
      ),
    ),
  );
  // Enter takes the first button of a form, which cancels.
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    use();
  });

  function submit(event) {
    if (event.submitter?.value !== "use") return;
    event.preventDefault();
    use();
  }

  function use() {
    if (PRINTABLE.test(input.value.trim())) return dialog.close("use");
    problem.textContent =
      "A key has only the letters a to z, digits and signs of ASCII: this one has another character. Copy it again.";
    problem.hidden = false;
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }

  document.body.append(dialog);
  dialog.showModal();
  input.select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const used = dialog.returnValue === "use";
      if (used) kept.set(input.value.trim());
      dialog.remove();
      resolve(used);
    });
  });
}
