// What may be done with a model, when it makes sense, and what it leads to.

import { askJson } from "../api.js";
import { confirmed } from "../dialog.js";
import { el } from "../dom.js";
import { bytes } from "../shell.js";

export const CHANGES = {
  pull: {
    // One that cannot be loaded may be damaged, which a pull mends.
    fits: ({ state, obstacle }) => ["absent", "failed"].includes(state) && !obstacle,
    label: ({ state, size_bytes }) =>
      state === "failed" ? "Download anew" : `Download ${bytes(size_bytes)}`,
    told: ({ engine }) => `The download of ${engine} has begun. Requests go on meanwhile.`,
    asks: pullQuestion,
  },
  load: {
    fits: ({ state }) => ["on_disk", "unloaded", "failed"].includes(state),
    label: () => "Load now",
    told: ({ engine }) => `${engine} is being loaded.`,
  },
  unload: {
    fits: ({ state }) => state === "ready",
    label: () => "Unload",
    told: ({ engine, memory_bytes }) =>
      `${engine} is unloaded${memory_bytes ? `, and about ${bytes(memory_bytes)} of memory are free` : ""}. ` +
      "The next request that needs it loads it again.",
  },
};

/**
 * Does it, unless the person thinks better of it.
 *
 * @returns {Promise<object|null>} the model as it stands now; null where nothing was done
 * @throws {ApiError} the server refuses
 */
export async function done(name, model) {
  const { asks } = CHANGES[name];
  if (asks && !(await confirmed(asks(model)))) return null;
  return askJson(`models/${encodeURIComponent(model.engine)}/${name}/`, { method: "POST" });
}

function pullQuestion({ engine, size_bytes, licence, source, operations, limits }) {
  const fact = (name, value) => [el("dt", {}, name), el("dd", {}, value)];
  return {
    title: `Download ${engine}?`,
    body: [
      el(
        "dl",
        { class: "facts" },
        fact("Takes", `about ${bytes(size_bytes)} on the server's disk`),
        fact("Licence", `${licence}: see that what you do with it is allowed`),
        fact("Comes from", source),
        fact("Serves", operations.join(", ")),
      ),
      limits && el("p", { class: "hint" }, limits),
      el(
        "p",
        { class: "hint" },
        "The server downloads it in the background, checks every file and goes on after an interruption.",
      ),
    ].filter(Boolean),
    action: "Download",
  };
}
