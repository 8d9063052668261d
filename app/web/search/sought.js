// The ways to say what is sought. Each has its part of the form, and makes the request.

import { el, fill, uniqueId } from "../dom.js";
import { say } from "../shell.js";
import { dropZone, onPaste } from "./drop.js";
import { boxed, picture } from "./pictures.js";
import { sampleFile, sampleList, sampleThumbnail } from "./samples.js";

/** By an image: a file, or the address of one. `run` is called as soon as there is one. */
export function byImage(run) {
  let file = null;
  const shown = el("div", { class: "picture", hidden: true });
  const address = el("input", {
    type: "url",
    id: uniqueId("address"),
    placeholder: "https://example.org/photo.jpg",
    autocomplete: "off",
    oninput: forget,
  });
  const samples = el("div", { class: "samples", role: "group", "aria-label": "Samples" });
  const element = el(
    "div",
    { class: "stack" },
    shown,
    dropZone({ label: "Drop or paste an image, or", take: ([first]) => give(first) }),
    samples,
    el(
      "div",
      { class: "field" },
      el("label", { class: "field-name", for: address.id }, "Or its address"),
      address,
    ),
  );
  onPaste(element, ([first]) => give(first));
  offerSamples();

  async function offerSamples() {
    const offered = await sampleList();
    fill(
      samples,
      offered.map((sample) =>
        el(
          "button",
          {
            type: "button",
            class: "sample",
            "aria-label": `Sample: ${sample.title}`,
            title: sample.title,
            onclick: async () => give(await sampleFile(sample)),
          },
          el("img", { src: sampleThumbnail(sample), alt: "", width: 44, height: 44, loading: "lazy" }),
        ),
      ),
    );
  }

  function give(given) {
    forget();
    file = given;
    address.value = "";
    const image = el("img", {
      src: URL.createObjectURL(file),
      alt: `The image that is sought with: ${file.name}`,
    });
    image.addEventListener("error", () => {
      shown.hidden = true;
      say(`The browser cannot show ${file.name}; the server may read it all the same.`);
    });
    fill(shown, image);
    shown.hidden = false;
    run();
  }

  function forget() {
    file = null;
    const image = shown.querySelector("img");
    if (image) URL.revokeObjectURL(image.src);
    fill(shown);
    shown.hidden = true;
  }

  return {
    name: "image",
    title: "Image",
    element,
    request(wanted) {
      if (address.value) return { json: { ...wanted, image_url: address.value } };
      if (!file) throw new Error("Choose an image to search with, or write its address.");
      const body = new FormData();
      body.append("image_file", file, file.name);
      body.append("query_json", JSON.stringify(wanted));
      return { method: "POST", body };
    },
    /** Draws which parts of the image found something. */
    show(hits) {
      const image = shown.querySelector("img");
      if (!image) return;
      const boxes = new Map(
        hits.filter((hit) => hit.query_bbox).map((hit) => [String(hit.query_bbox), hit.query_bbox]),
      );
      for (const old of shown.querySelectorAll("svg")) old.remove();
      shown.append(...[...boxes.values()].map((box) => boxed(box, image.naturalWidth, image.naturalHeight)));
    },
  };
}

/** By a text, where the collection's operation embeds texts. */
export function byText() {
  const input = el("input", {
    type: "search",
    id: uniqueId("text"),
    maxlength: 1000,
    placeholder: "a dog on a beach",
    autocomplete: "off",
  });
  return {
    name: "text",
    title: "Text",
    element: el(
      "div",
      { class: "field" },
      el("label", { class: "field-name", for: input.id }, "What the images show"),
      input,
    ),
    request(wanted) {
      if (!input.value.trim()) throw new Error("Write what the images should show.");
      return { json: { ...wanted, text: input.value } };
    },
  };
}

/** By an item of the collection, which is itself left out. */
export function byItem(page) {
  const input = el("input", {
    type: "text",
    id: uniqueId("item"),
    maxlength: 512,
    autocomplete: "off",
    spellcheck: "false",
    onchange: show,
  });
  const shown = el("div");

  function show() {
    fill(shown, input.value && picture(page.name, input.value, null));
  }

  return {
    name: "item",
    title: "Item",
    element: el(
      "div",
      { class: "stack" },
      shown,
      el(
        "div",
        { class: "field" },
        el("label", { class: "field-name", for: input.id }, "Id of the item"),
        input,
      ),
    ),
    give(id) {
      input.value = id;
      show();
    },
    request(wanted) {
      if (!input.value) throw new Error("Write the id of an item, or choose More like this at one of them.");
      return { json: { ...wanted, id: input.value } };
    },
  };
}
