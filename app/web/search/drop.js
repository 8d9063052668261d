// A place for image files: dropped, pasted, chosen, or as whole folders.

import { el, icon, uniqueId } from "../dom.js";

/**
 * @param {{label: string, several?: boolean, more?: Node[], take: (files: File[]) => void}} wanted `more` are further
 *   buttons
 * @returns {HTMLElement}
 */
export function dropZone({ label, several = false, more = [], take }) {
  const id = uniqueId("drop");
  const input = chooser(take, { multiple: several, "aria-describedby": id });
  const folder = several && chooser(take, { webkitdirectory: true });
  const zone = el(
    "div",
    { class: "drop", role: "group", "aria-labelledby": id },
    el("p", { id, class: "hint" }, label),
    el(
      "div",
      { class: "row" },
      opener(several ? "Choose images" : "Choose an image", "up", input),
      folder && opener("Choose a folder", "add", folder),
      more,
    ),
    input,
    folder,
  );
  for (const name of ["dragenter", "dragover"])
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
  zone.addEventListener(
    "dragleave",
    (event) => zone.contains(event.relatedTarget) || zone.classList.remove("over"),
  );
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const files = await filesIn(event.dataTransfer);
    if (files.length) take(several ? files : files.slice(0, 1));
  });
  return zone;
}

/** Calls a function with the image of a paste anywhere on the page, while an element is shown. */
export function onPaste(element, take) {
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter(isImage);
    if (!element.isConnected || !files.length) return;
    event.preventDefault();
    take(files);
  });
}

function chooser(take, properties) {
  const input = el("input", {
    type: "file",
    hidden: true,
    accept: properties.webkitdirectory ? undefined : "image/*",
    ...properties,
    onchange: () => {
      const files = [...input.files];
      // The same file may be chosen again.
      input.value = "";
      const images = properties.webkitdirectory ? files.filter(isImage) : files;
      if (images.length) take(images);
    },
  });
  return input;
}

const opener = (title, sign, input) =>
  el("button", { type: "button", class: "button small", onclick: () => input.click() }, icon(sign), title);

const isImage = ({ type }) => type.startsWith("image/");

/** What was dropped, with the images of folders and of those below them. */
async function filesIn(data) {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...data.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    Object.defineProperty(file, "path", { value: entry.fullPath.slice(1) });
    return isImage(file) ? [file] : [];
  }
  const reader = entry.createReader();
  const inside = [];
  // A folder is told in parts, until one is empty.
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) break;
    inside.push(...part);
  }
  return (await Promise.all(inside.map(filesOf))).flat();
}

/** The path of a file below the folder that was chosen or dropped, or its name. */
export const pathOf = (file) => file.path || file.webkitRelativePath || file.name;
