"""What assistive technology needs of a page, as far as a program can tell."""

from playwright.sync_api import Page

# Names, labels, references and contrast (WCAG 2.2 AA) of all that is seen now.
_CHECK = r"""
() => {
  const problems = [];
  const seen = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const told = (e) => e.outerHTML.slice(0, 120);
  const textOf = (e) => e.innerText ?? e.textContent ?? "";
  const ids = (e, name) => (e.getAttribute(name) ?? "").split(" ").filter(Boolean);
  const nameOf = (e) =>
    (e.getAttribute("aria-label") ?? "") ||
    ids(e, "aria-labelledby").map((id) => textOf(document.getElementById(id) ?? e)).join(" ").trim() ||
    [...(e.labels ?? [])].map(textOf).join(" ").trim() ||
    (["INPUT", "SELECT", "TEXTAREA"].includes(e.tagName) ? "" : textOf(e).trim()) ||
    [...e.querySelectorAll("img[alt]")].map((each) => each.alt).join(" ").trim();

  const ACTIVE = "a[href], button, input:not([type=hidden]), select, textarea, summary";
  for (const e of document.querySelectorAll(`${ACTIVE}, [role=tab], [role=img], dialog[open]`))
    if (seen(e) && !e.closest("[aria-hidden=true]") && !nameOf(e)) problems.push(`no name: ${told(e)}`);
  for (const e of document.querySelectorAll("img:not([alt])")) problems.push(`no alt: ${told(e)}`);
  for (const { id } of document.querySelectorAll("[id]"))
    if (document.querySelectorAll(`[id="${id}"]`).length > 1) problems.push(`twice: #${id}`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for", "list"])
    for (const e of document.querySelectorAll(`[${name}]`))
      for (const id of ids(e, name))
        if (!document.getElementById(id)) problems.push(`${name} leads to nothing: ${told(e)}`);
  if (document.querySelectorAll("h1").length !== 1) problems.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) problems.push("not one main");
  if (!document.documentElement.lang) problems.push("no language");

  const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const groundOf = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = ([r, g, b]) => {
    const linear = (each) => (each <= 10 ? each / 3294 : ((each / 255 + 0.055) / 1.055) ** 2.4);
    const [R, G, B] = [r, g, b].map(linear);
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !seen(e)) continue;
    if (e.closest("svg, .visually-hidden, :disabled, noscript")) continue;
    const style = getComputedStyle(e);
    const ground = groundOf(e);
    const [a, b] = [light(over(rgba(style.color), ground)), light(ground)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < needed) problems.push(`contrast ${ratio.toFixed(2)}: ${told(e)}`);
  }
  return [...new Set(problems)];
}
"""


def barriers(page: Page) -> list[str]:
    """What keeps people out of the page as it is now; nothing where the list is empty."""
    found: list[str] = page.evaluate(_CHECK)
    return found


def is_wider_than_its_window(page: Page) -> bool:
    """Whether the page must be moved sideways."""
    wider: bool = page.evaluate("() => document.documentElement.scrollWidth > window.innerWidth")
    return wider
