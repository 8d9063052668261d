// Where the image comes from: a file, a drop, the clipboard, a link or a sample.

import { ask, askJson, ROOT } from "../api.js";
import { byId, el, fill, icon } from "../dom.js";
import { announce, errorBox } from "../shell.js";
import { setTasks, state, tell } from "./state.js";

const problem = el("div");
let samples = [];
let chosen = 0;

export async function mountSource() {
  const file = el("input", {
    type: "file",
    accept: "image/*",
    class: "visually-hidden",
    tabindex: -1,
    "aria-hidden": "true",
    onchange: () => file.files[0] && useFile(file.files[0]),
  });
  const link = el("input", {
    type: "url",
    id: "link",
    placeholder: "https://… of an image",
    autocomplete: "off",
    "aria-label": "Address of an image",
  });
  const strip = el("div", { class: "samples", role: "group", "aria-label": "Samples" });
  fill(
    byId("source"),
    el(
      "div",
      { class: "source" },
      el(
        "button",
        { type: "button", class: "button drop", id: "choose", onclick: () => file.click() },
        icon("up"),
        el("span", {}, "Choose an image", el("span", { class: "hint" }, "or drop or paste one")),
      ),
      file,
      el(
        "form",
        {
          class: "row",
          onsubmit: (event) => {
            event.preventDefault();
            if (link.value) useLink(link.value.trim());
          },
        },
        el("div", { class: "grow" }, link),
        el("button", { class: "button" }, "Use link"),
      ),
      problem,
      strip,
    ),
  );
  document.addEventListener("paste", pasted);
  acceptDrops(document.body);
  try {
    samples = await askJson("playground/samples");
  } catch (error) {
    fill(problem, errorBox(error));
  }
  fill(strip, samples.map(sampleButton));
}

function sampleButton(sample) {
  return el(
    "button",
    {
      type: "button",
      class: "sample",
      title: `${sample.title}: ${sample.credit}`,
      onclick: () => useSample(sample.name),
    },
    el("img", {
      src: new URL(`playground/samples/${sample.name}/thumbnail`, ROOT),
      alt: "",
      width: 64,
      height: 64,
      loading: "lazy",
    }),
    el("span", {}, sample.title),
  );
}

function pasted(event) {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (!file) return;
  event.preventDefault();
  useFile(new File([file], file.name || "pasted.png", { type: file.type }));
}

function acceptDrops(element) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  element.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    element.classList.add("is-dropping");
  });
  element.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) element.classList.remove("is-dropping");
  });
  element.addEventListener("drop", (event) => {
    element.classList.remove("is-dropping");
    if (!hasFiles(event)) return;
    event.preventDefault();
    useFile(event.dataTransfer.files[0]);
  });
}

export const useFile = (file) => use({ blob: file, name: file.name });

export const useLink = (url) =>
  use({
    url,
    name:
      url
        .replace(/[?#].*$/, "")
        .split("/")
        .pop() || url,
  });

/** A sample; its tasks are taken where there are none yet, or those of another sample that nobody changed. */
export async function useSample(name, { keepTasks = false } = {}) {
  const sample = samples.find((each) => each.name === name);
  if (!sample) return;
  const load = async () => (await ask(`playground/samples/${name}`)).blob();
  if (!(await use({ sample: name, name, load })) || keepTasks) return;
  const isUntouched = samples.some((each) => isSetup(each.tasks));
  if (state.tasks.length === 0 || isUntouched) setTasks(known(sample.tasks));
}

/** Of a sample's tasks those that this server can answer, now or soon. */
const known = (tasks) =>
  tasks.filter(({ type }) => !["absent", "failed", undefined].includes(state.operations?.[type]?.state));

const isSetup = (tasks) =>
  JSON.stringify(known(tasks).map(({ operation_id, type, params }) => [operation_id, type, params])) ===
  JSON.stringify(state.tasks.map(({ id, type, params }) => [id, type, params]));

/** Takes an image, unless another one is chosen while this one comes; tells whether it is taken. */
async function use({ load, ...image }) {
  const mine = ++chosen;
  fill(problem);
  byId("source").setAttribute("aria-busy", "true");
  try {
    if (load) {
      image.blob = await load();
      image.name += `.${image.blob.type.split("/")[1]}`;
    }
    Object.assign(image, (image.blob && (await shownHere(image.blob))) ?? (await shownByServer(image)));
    if (image.blob) image.sha256 ??= await digestOf(image.blob);
    if (mine !== chosen) {
      release(image);
      return false;
    }
    if (state.image) release(state.image);
    state.image = image;
    tell("image");
    announce(`The image is ${image.name}, ${image.width} by ${image.height} pixels.`);
    return true;
  } catch (error) {
    if (mine === chosen) fill(problem, errorBox(error));
    return false;
  } finally {
    if (mine === chosen) byId("source").removeAttribute("aria-busy");
  }
}

function release({ picture }) {
  if (picture.startsWith("blob:")) URL.revokeObjectURL(picture);
}

/** By which the server knows the image; pages that do not come safely may not compute it. */
async function digestOf(blob) {
  if (!globalThis.crypto.subtle) return undefined;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  return [...digest].map((each) => each.toString(16).padStart(2, "0")).join("");
}

/** The picture as this browser decodes it; undefined where it does not know the format. */
async function shownHere(blob) {
  const picture = URL.createObjectURL(blob);
  const image = new Image();
  image.src = picture;
  try {
    await image.decode();
    return { picture, width: image.naturalWidth, height: image.naturalHeight };
  } catch {
    URL.revokeObjectURL(picture);
    return undefined;
  }
}

/** The picture as the server decodes it: a link, which this page does not follow itself, or an unusual format. */
async function shownByServer(image) {
  const task = {
    operation_id: "picture",
    type: "crop",
    params: { target: "whole_image", crop_format: "jpeg" },
  };
  const answer = await (await ask(...requestOf(image, [task]))).json();
  const { cropped_image_base64: content, error_message: reason } = answer.results.picture;
  if (!content) throw new Error(reason ?? "The server does not show this image.");
  return { picture: `data:image/jpeg;base64,${content}`, ...answer.image };
}

/** The path and the options of the request that sends an image with tasks. */
export function requestOf(image, tasks) {
  if (image.url) return ["analyze_image/", { json: { image_url: image.url, tasks } }];
  const body = new FormData();
  body.append("image_file", image.blob, image.name);
  body.append("tasks_json", JSON.stringify(tasks));
  return ["analyze_image_upload/", { method: "POST", body }];
}
