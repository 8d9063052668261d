// The server's own sentences: what stands in backticks is a command.

import { el } from "./dom.js";
import { copyButton } from "./shell.js";

const COMMAND = /`([^`]+)`/;

/** A sentence with its commands set as such. */
export function prose(text) {
  return text.split(COMMAND).map((part, place) => (place % 2 ? el("code", {}, part) : part));
}

/** A button that copies the first command of a sentence; null where it has none. */
export function copyCommand(text) {
  const found = COMMAND.exec(text);
  return found && copyButton(() => found[1], "Copy the command");
}
