// What a key may not do is told with the way to another key.

import { ApiError, apiKey } from "./api.js";
import { el, icon } from "./dom.js";
import { askForKey } from "./key.js";
import { errorBox } from "./shell.js";

/** A button that asks for another key and then starts the page anew. */
export function otherKeyButton(reason) {
  const ask = async () => {
    if (await askForKey(reason, apiKey)) location.reload();
  };
  return el(
    "button",
    { type: "button", class: "button small", onclick: ask },
    icon("key"),
    "Use another key",
  );
}

/** An error in its place; where the key lacks a scope, with the way to another one. */
export function refusalBox(error, retry) {
  const box = errorBox(error, retry);
  if (error instanceof ApiError && error.status === 403) box.append(otherKeyButton(error.message));
  return box;
}
