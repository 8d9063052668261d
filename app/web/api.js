// Asks the server. The API key stays in this tab's session storage; it is asked for when the server wants one.

import { askForKey } from "./key.js";
import { storage } from "./storage.js";

// The pages also work below a path of a proxy: the server's root is two steps above this file.
export const ROOT = new URL("..", import.meta.url);

const KEY = "sightgraph-key";
const tab = storage("sessionStorage");

export const apiKey = {
  get: () => tab.getItem(KEY) ?? "",
  set: (key) => (key ? tab.setItem(KEY, key) : tab.removeItem(KEY)),
};

/** A refusal of the server, or none of its answers. Its message is what a person should read. */
export class ApiError extends Error {
  /** @param {{status?: number, requestId?: string, retryAfter?: string}} facts */
  constructor(message, { status = 0, requestId = "", retryAfter = "" } = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }
}

/**
 * The server's answer to a request, which is a success.
 *
 * @param {string} path without a first slash: "available_operations/"
 * @param {RequestInit & {json?: unknown}} options as fetch takes them; `json` becomes the body
 * @throws {ApiError} it refuses, or cannot be reached
 */
export async function ask(path, { json, ...options } = {}) {
  const headers = new Headers(options.headers);
  if (json !== undefined) {
    headers.set("Content-Type", "application/json");
    options = { method: "POST", ...options, body: JSON.stringify(json) };
  }
  for (;;) {
    const key = apiKey.get();
    if (key) headers.set("Authorization", `Bearer ${key}`);
    else headers.delete("Authorization");
    const answer = await fetched(new URL(path, ROOT), { ...options, headers });
    if (answer.ok) return answer;
    const error = await refusal(answer);
    // A key that another request was given meanwhile is tried first.
    if (answer.status !== 401 || (apiKey.get() === key && !(await askForKey(error.message, apiKey))))
      throw error;
  }
}

/** The JSON of the server's answer. */
export const askJson = async (path, options) => (await ask(path, options)).json();

/** The JSON objects of an answer of lines, one by one as they come. */
export async function* askLines(path, options = {}) {
  const headers = { ...options.headers, Accept: "application/x-ndjson" };
  const answer = await ask(path, { ...options, headers });
  const requestId = answer.headers.get("X-Request-ID") ?? "";
  let rest = "";
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw unreachable(error);
      });
      const lines = (rest + (value ?? "")).split("\n");
      rest = done ? "" : lines.pop();
      for (const line of lines) {
        if (!line) continue;
        const part = JSON.parse(line);
        if (Object.keys(part).length === 1 && "detail" in part)
          throw new ApiError(part.detail, { status: 200, requestId });
        yield part;
      }
      if (done) return;
    }
  } finally {
    // Who stops reading in the middle tells the server so.
    reader.cancel().catch(() => {});
  }
}

async function fetched(url, options) {
  try {
    return await fetch(url, { ...options, credentials: "same-origin" });
  } catch (error) {
    throw unreachable(error);
  }
}

function unreachable(error) {
  if (error.name === "AbortError") return error;
  return new ApiError(
    "The server does not answer. Is it still running? Start it with `sightgraph serve`, then try again.",
  );
}

async function refusal(answer) {
  const facts = {
    status: answer.status,
    requestId: answer.headers.get("X-Request-ID") ?? "",
    retryAfter: answer.headers.get("Retry-After") ?? "",
  };
  let detail = "";
  try {
    detail = (await answer.json()).detail;
  } catch {
    // A proxy's page, say.
  }
  return new ApiError(
    detail || `The server answered ${answer.status} ${answer.statusText}`.trim() + ".",
    facts,
  );
}
