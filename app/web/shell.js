// What all pages share: the header with its navigation, messages, the switch of the theme and the key.

import { apiKey, ApiError, ROOT } from "./api.js";
import { byId, el, fill, icon, iconButton } from "./dom.js";
import { prose } from "./prose.js";
import { askForKey } from "./key.js";
import { storage } from "./storage.js";

const PAGES = [
  ["analyze", "Analyze", "./"],
  ["search", "Search", "playground/search"],
  ["models", "Models", "playground/models"],
];

const THEME = "sightgraph-theme";

/** Fills the page's header; `page` is the one that is shown. */
export function mountShell(page) {
  fill(
    byId("header"),
    el("a", { class: "skip", href: "#main", onclick: skip }, "Skip to the content"),
    el(
      "a",
      { class: "brand", href: new URL("./", ROOT), "aria-label": "Sightgraph, to the start page" },
      el("img", { src: new URL("playground/icon.svg", ROOT), alt: "", width: 26, height: 26 }),
      el("span", {}, "Sightgraph"),
    ),
    el(
      "nav",
      { "aria-label": "Pages" },
      PAGES.map(([name, title, path]) =>
        el("a", { href: new URL(path, ROOT), "aria-current": name === page && "page" }, title),
      ),
    ),
    el(
      "div",
      { class: "header-end" },
      iconButton("key", "API key", giveKey),
      iconButton("theme", `Switch to the ${other(theme())} theme`, switchTheme, { id: "theme" }),
    ),
  );
  document.body.append(
    el("div", { id: "messages", class: "messages", role: "status" }),
    el("p", { id: "announcement", class: "visually-hidden", role: "status" }),
  );
}

/** The hash of the address tells what a page shows, and must stay. */
function skip(event) {
  event.preventDefault();
  byId("main").focus();
}

async function giveKey() {
  const reason =
    "Only a server that was given keys asks for one. It is sent with every request of this page.";
  if (await askForKey(reason, apiKey)) location.reload();
}

const theme = () =>
  document.documentElement.dataset.theme ??
  (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

const other = (name) => (name === "dark" ? "light" : "dark");

function switchTheme() {
  const chosen = other(theme());
  document.documentElement.dataset.theme = chosen;
  storage("localStorage").setItem(THEME, chosen);
  const label = `Switch to the ${other(chosen)} theme`;
  byId("theme").setAttribute("aria-label", label);
  byId("theme").title = label;
}

/** A short message at the edge of the page, which is also read out. */
export function say(text, kind = "note") {
  const message = el("div", { class: `message ${kind}` }, el("span", {}, text));
  message.append(iconButton("close", "Dismiss", () => message.remove()));
  byId("messages").append(message);
  if (kind === "note") setTimeout(() => message.remove(), 5000);
}

/** What is seen anyway, said to those who do not see it. */
export function announce(text) {
  byId("announcement").textContent = text;
}

/** An error in the place where it belongs: what went wrong, what to do, and by which id the log knows it. */
export function errorBox(error, retry) {
  const box = el("div", { class: "callout error", role: "alert" }, el("p", {}, prose(error.message)));
  if (error instanceof ApiError) {
    if (error.retryAfter) box.append(el("p", { class: "hint" }, `Try again in ${error.retryAfter} s.`));
    if (error.requestId) box.append(el("p", { class: "hint" }, "Request ", el("code", {}, error.requestId)));
  }
  if (retry) box.append(el("button", { type: "button", class: "button small", onclick: retry }, "Try again"));
  return box;
}

/** A button that copies a text. */
export function copyButton(text, label = "Copy") {
  return el(
    "button",
    {
      type: "button",
      class: "button small",
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(text());
          say("Copied.");
        } catch {
          say("The browser does not let this page copy; select the text and copy it by hand.", "error");
        }
      },
    },
    icon("copy"),
    label,
  );
}

const NUMBER = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** Milliseconds as people read them. */
export const milliseconds = (ms) =>
  ms >= 1000 ? `${NUMBER.format(ms / 1000)} s` : `${NUMBER.format(ms)} ms`;

/** Bytes as people read them. */
export function bytes(count) {
  const units = ["B", "KB", "MB", "GB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) [count, unit] = [count / 1000, unit + 1];
  return `${NUMBER.format(count)} ${units[unit]}`;
}

const STATES = {
  ready: ["ok", "ready"],
  loading: ["busy", "loading"],
  downloading: ["busy", "downloading"],
  on_disk: ["idle", "loads at first use"],
  unloaded: ["idle", "loads at first use"],
  absent: ["off", "not downloaded"],
  failed: ["bad", "failed"],
};

/** The state of an operation or a model as a mark with words, never by colour alone. */
export function stateMark(state, progress) {
  const [kind, words] = STATES[state] ?? ["idle", state];
  const percent =
    state === "downloading" && progress !== null && progress !== undefined ? ` ${progress} %` : "";
  return el("span", { class: `state ${kind}`, data: { state } }, words + percent);
}
