// Putting images into a collection, with what is known of them.

import { refusalBox } from "../access.js";
import { el, fill } from "../dom.js";
import { bytes } from "../shell.js";
import { counted } from "./collections.js";
import { dropZone, onPaste, pathOf } from "./drop.js";
import { progressOf } from "./progress.js";
import { sampleFile, sampleList } from "./samples.js";
import { sent } from "./sending.js";

/** @returns {{element: HTMLElement, enter: () => void}} */
export function addingView(page) {
  let files = [];
  // There while images are on their way.
  let stopping = null;
  const chosen = el("div", { class: "stack tight" });
  const named = el(
    "select",
    { id: "add-id" },
    el("option", { value: "name" }, "the file's name"),
    el("option", { value: "content" }, "the file's content (SHA-256)"),
  );
  const metadata = el("textarea", {
    id: "add-metadata",
    class: "mono",
    rows: 2,
    spellcheck: "false",
    placeholder: '{"kind": "holiday", "year": 2024}',
    "aria-describedby": "add-metadata-hint",
  });
  const thumbnails = el("input", { type: "checkbox", checked: true });
  const go = el("button", { class: "button primary", disabled: true }, "Add");
  const stop = el(
    "button",
    { type: "button", class: "button", hidden: true, onclick: () => stopping.abort() },
    "Stop",
  );
  const report = el("div", { class: "stack" });
  const status = el("p", { role: "status", class: "hint" });
  const samples = el(
    "button",
    { type: "button", class: "button small", hidden: true, onclick: takeSamples },
    "Take the samples",
  );

  const element = el(
    "form",
    { class: "stack adding", onsubmit: add, "aria-label": "Add images" },
    dropZone({ label: "Drop images or folders here, paste one, or", several: true, more: [samples], take }),
    chosen,
    el(
      "div",
      { class: "card stack" },
      el(
        "div",
        { class: "field" },
        el("label", { class: "field-name", for: "add-id" }, "An item is called by"),
        named,
        el("p", { class: "hint" }, "An image with the id of another item replaces it."),
      ),
      el(
        "div",
        { class: "field" },
        el("label", { class: "field-name", for: "add-metadata" }, "Metadata of all of them"),
        metadata,
        el(
          "p",
          { id: "add-metadata-hint", class: "hint" },
          "A JSON object. Searches can be narrowed by its fields.",
        ),
      ),
      el("label", { class: "choice" }, thumbnails, "Keep a small picture of each, to be shown here"),
      el("div", { class: "row end" }, stop, go),
    ),
    status,
    report,
  );
  onPaste(element, take);
  offerSamples();

  async function offerSamples() {
    samples.hidden = !(await sampleList()).length;
  }

  async function takeSamples() {
    take(await Promise.all((await sampleList()).map(sampleFile)));
  }

  function take(given) {
    files = [...files, ...given];
    tell();
  }

  function tell() {
    const size = files.reduce((sum, file) => sum + file.size, 0);
    go.disabled = !files.length || stopping !== null;
    stop.hidden = stopping === null;
    go.textContent = files.length ? `Add ${counted(files.length, "image")}` : "Add";
    const clear = () => {
      files = [];
      tell();
    };
    fill(
      chosen,
      files.length > 0 && [
        el(
          "div",
          { class: "row apart" },
          el("p", {}, `${counted(files.length, "image")}, ${bytes(size)}`),
          el("button", { type: "button", class: "button small", onclick: clear }, "Choose none"),
        ),
        el(
          "ul",
          { class: "named", "aria-label": "Chosen images" },
          files.slice(0, 200).map((file) => el("li", {}, pathOf(file))),
        ),
      ],
    );
  }

  async function add(event) {
    event.preventDefault();
    const known = readMetadata();
    if (known === null || !files.length || stopping !== null) return;
    const sending = files;
    files = [];
    stopping = new AbortController();
    const { signal } = stopping;
    tell();
    const options = {
      named: named.value === "name",
      metadata: known,
      thumbnails: thumbnails.checked,
      signal,
    };
    const seen = progressOf(sending.length, report);
    try {
      for await (const some of sent(page.name, sending, options)) {
        for (const each of some) seen.note(each);
        status.textContent = seen.words();
      }
      status.textContent = `Done: ${seen.words()}`;
    } catch (error) {
      // What has not been answered can be sent again.
      files = [...sending.slice(seen.count()), ...files];
      status.textContent = `Stopped: ${seen.words()}`;
      if (!signal.aborted) report.append(refusalBox(error));
    }
    stopping = null;
    tell();
    seen.end(page.name);
    await page.changed().catch(() => {});
  }

  function readMetadata() {
    const text = metadata.value.trim();
    let problem = "";
    try {
      const read = text ? JSON.parse(text) : {};
      if (typeof read === "object" && read !== null && !Array.isArray(read)) {
        metadata.setAttribute("aria-invalid", "false");
        return read;
      }
      problem = 'it must be an object such as {"kind": "holiday"}';
    } catch (error) {
      problem = error.message;
    }
    metadata.setAttribute("aria-invalid", "true");
    metadata.focus();
    status.textContent = `Metadata: ${problem}.`;
    return null;
  }

  return { element, enter() {} };
}
