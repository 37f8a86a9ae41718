"""What every page has to be: balanced, with unique ids, labels on all that can be filled in, and nothing inline."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"input", "meta", "link", "br", "hr", "img"}
SELF_CLOSED = {"path", "circle", "rect", "line"}
INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class Page(HTMLParser):
    """Reads a page and notes what is wrong with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.labels: set[str] = set()
        self.fields: list[tuple[str, dict[str, str]]] = []
        self.count: dict[str, int] = {}
        self.feed(text)
        self.close()
        if self.open:
            self.problems.append(f"not closed: {self.open}")
        self.problems += [f"id {id} twice" for id in {*self.ids} if self.ids.count(id) > 1]
        for tag, field in self.fields:
            if field.get("id") not in self.labels and not field.get("aria-label"):
                self.problems.append(f"{tag} {field.get('name')} has no label")
            self.problems += [
                f"{field.get('name')} is described by {id}, which is not there"
                for id in field.get("aria-describedby", "").split()
                if id not in self.ids
            ]
        if self.count.get("table", 0) != self.count.get("caption", 0):
            self.problems.append("a table without a caption")
        if found := INVISIBLE.search(text):
            self.problems.append(f"{found[0]!r} is there and cannot be seen")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.count[tag] = self.count.get(tag, 0) + 1
        self.problems += [f"<{tag} {name}>" for name in given if name.startswith("on") or name == "style"]
        if (tag == "script" and not given.get("src")) or tag in ("style", "iframe", "object"):
            self.problems.append(f"<{tag}> inline")
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "label":
            self.labels.add(given.get("for", ""))
        if tag == "form":
            self.forms.append(given)
        if tag == "th" and "scope" not in given:
            self.problems.append("a th without scope")
        if tag in ("input", "select", "textarea") and given.get("type") != "hidden":
            self.fields.append((tag, given if "label" not in self.open else given | {"aria-label": "around it"}))
        if tag not in VOID | SELF_CLOSED:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID | SELF_CLOSED:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID | SELF_CLOSED:
            return
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """What can be read."""
        return re.sub(r"\s+", " ", " ".join(self.texts))


def checked(text: str) -> Page:
    """A page that is whole; one element of one may be given as well."""
    page = Page(text)
    if text.lstrip().startswith("<!doctype") and page.count.get("h1") != 1:
        page.problems.append(f"{page.count.get('h1', 0)} h1")
    assert page.problems == [], page.problems
    return page
