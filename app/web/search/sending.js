// Images on their way into a collection: a few with every request, so that it can be seen how far they are.

import { ApiError, askJson } from "../api.js";
import { pathOf } from "./drop.js";
import { collectionPath } from "./places.js";

const FILES = 8;
const BYTES = 32_000_000;
const ATTEMPTS = 8;
const LONGEST_WAIT_SECONDS = 30;

/**
 * Sends images, and tells of each what became of it.
 *
 * @param {string} collection
 * @param {File[]} files
 * @param {{named: boolean, metadata: object, thumbnails: boolean, signal: AbortSignal}} options `named` items are
 *   called as their files
 * @yields {{file: File, item: object}[]} the answers to the images of one request
 * @throws {ApiError} the server refuses a whole request
 */
export async function* sent(collection, files, { named, metadata, thumbnails, signal }) {
  for (const some of portions(files)) {
    const body = new FormData();
    for (const file of some) {
      body.append("image_file", file, file.name);
      body.append("metadata", JSON.stringify(metadata));
      if (named) body.append("id", pathOf(file));
    }
    body.append("thumbnails", String(thumbnails));
    const { items } = await patiently(
      () => askJson(`${collectionPath(collection)}items/`, { method: "POST", body, signal }),
      signal,
    );
    yield some.map((file, place) => ({ file, item: items[place] }));
  }
}

function* portions(files) {
  let some = [];
  let size = 0;
  const names = new Set();
  for (const file of files) {
    const full = some.length === FILES || size + file.size > BYTES;
    // One request takes each id once.
    if (some.length && (full || names.has(pathOf(file)))) {
      yield some;
      some = [];
      size = 0;
      names.clear();
    }
    some.push(file);
    size += file.size;
    names.add(pathOf(file));
  }
  if (some.length) yield some;
}

/** A server that is full says when to come back. */
async function patiently(act, signal) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act();
    } catch (error) {
      const passes = error instanceof ApiError && [429, 503].includes(error.status) && error.retryAfter;
      if (!passes || attempt === ATTEMPTS) throw error;
      await pause(Math.min(Number(error.retryAfter) || 1, LONGEST_WAIT_SECONDS), signal);
    }
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
