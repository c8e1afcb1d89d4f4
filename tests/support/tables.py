"""A page → its tables as people see them, and what it would ask of others."""

import re
from html.parser import HTMLParser

_ASKING = ("src", "srcset", "href", "xlink:href", "action", "formaction", "poster", "data", "background")


class Tables(HTMLParser):
    """The rows of each table by the name of the region that it stands in, each cell's text with single blanks."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self.addresses: list[str] = []
        """What leads out of the page, or would be fetched."""
        self._region, self._cell = "", False
        self.feed(page)
        self.addresses += re.findall(r"url\((?!#)[^)]*\)|@import\S*", page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [told for name in _ASKING if (told := given.get(name)) and not told.startswith("#")]
        if given.get("role") == "region":
            self._region = given.get("aria-label") or ""
            self.rows[self._region] = []
        elif tag == "tr":
            self.rows[self._region].append([])
        elif tag in ("td", "th"):
            self.rows[self._region][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.rows[self._region][-1][-1] = " ".join(self.rows[self._region][-1][-1].split())
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[self._region][-1][-1] += data
