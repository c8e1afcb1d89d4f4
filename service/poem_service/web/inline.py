"""A page → the inline scripts and styles in it, as a Content-Security-Policy names them."""

import base64
import hashlib
from html.parser import HTMLParser


def inline_digests(html: str) -> dict[str, list[str]]:
    """The sources `'sha256-…'` of each inline `script` and `style`, in the page's order."""
    reader = _Inline()
    reader.feed(html.replace("\r\n", "\n").replace("\r", "\n"))  # as browsers read it, before they take the digest
    reader.close()
    return {
        kind: [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]
        for kind, texts in reader.found.items()
    }


class _Inline(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: dict[str, list[str]] = {"script": [], "style": []}
        self._inside: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = None if any(name == "src" for name, _ in attrs) else self.found.get(tag)
        if self._inside is not None:
            self._inside.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            self._inside[-1] += data
