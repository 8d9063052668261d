"""The JSON in a page of HTML."""

import re
from html.parser import HTMLParser

_LISTENED_TO = ("pre", "code")
_UNSEEN = ("script", "style", "title", "template")
# A bracket that opens no element. The parser would look for the end of each to the end of the page: a page of
# a few kilobytes could keep it busy for minutes.
_NO_ELEMENT = re.compile(r"<(?=[!?]|[^<>]*(?:<|\Z))")
# What stands for one meanwhile; no text that was decoded has it.
_BRACKET = "\udfff"
_JSON_TYPES = ("application/json", "text/json")


def json_in(text: str) -> list[str]:
    """What of an answer may be its JSON, the most likely first.

    An answer that is no page is all of it. In a page that is what stands in
    `<script type="application/json">`, in `<pre>` or `<code>`, and then in the page as a whole, from its
    first bracket to the last.
    """
    text = text.strip()
    if not text.startswith("<"):
        return [text]
    page = _Page()
    page.feed(_NO_ELEMENT.sub(_BRACKET, text))
    page.close()
    shown = "".join(page.shown)
    return [each for each in (*page.parts, _bracketed(shown)) if each]


def _bracketed(text: str) -> str:
    starts = [place for place in (text.find("["), text.find("{")) if place >= 0]
    end = max(text.rfind("]"), text.rfind("}"))
    return text[min(starts) : end + 1] if starts else ""


class _Page(HTMLParser):
    """Collects the text that is shown, and the parts of it that are set as code or data."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown: list[str] = []
        self.parts: list[str] = []
        self._part: list[str] = []
        # The element of which the part is, and how many of its name are open in it.
        self._listening: str | None = None
        self._depth = 0
        self._unseen: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._listening is not None:
            self._depth += tag == self._listening
        elif tag in _LISTENED_TO or (tag == "script" and dict(attrs).get("type") in _JSON_TYPES):
            self._listening, self._depth, self._part = tag, 1, []
        elif tag in _UNSEEN and self._unseen is None:
            self._unseen = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unseen:
            self._unseen = None
        if tag == self._listening:
            self._depth -= 1
            if self._depth == 0:
                self._end_part()

    def handle_data(self, data: str) -> None:
        data = data.replace(_BRACKET, "<")
        if self._listening is not None:
            self._part.append(data)
        if self._unseen is None and self._listening != "script":
            self.shown.append(data)

    def close(self) -> None:
        super().close()
        if self._listening is not None:
            self._end_part()

    def _end_part(self) -> None:
        self.parts.append("".join(self._part).strip())
        self._listening = None
