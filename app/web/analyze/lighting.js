// What is pointed at is lit at both of its places: on the image, and in the list that tells of it.

let lit = "";

/** Lights the marks and rows with a key, and no others. */
function light(key) {
  if (key === lit) return;
  for (const each of document.querySelectorAll(".lit")) each.classList.remove("lit");
  lit = key;
  if (key)
    for (const each of document.querySelectorAll(`[data-shape="${CSS.escape(key)}"]`))
      each.classList.add("lit");
}

const keyAt = (event) => event.target.closest?.("[data-shape]")?.dataset.shape ?? "";

/** Follows the pointer and the focus inside an element. */
export function follow(element) {
  element.addEventListener("pointerover", (event) => light(keyAt(event)));
  element.addEventListener("pointerleave", () => light(""));
  element.addEventListener("focusin", (event) => light(keyAt(event)));
  element.addEventListener("focusout", () => light(""));
}
