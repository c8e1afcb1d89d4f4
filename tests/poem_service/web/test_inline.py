"""Inline scripts and styles are those that a browser runs, with the digests that it takes of them."""

import base64
import hashlib

from poem_service.web.inline import inline_digests


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_what_is_inline_is_found_as_a_browser_finds_it() -> None:
    html = "<SCRIPT type='module'>\r\na < b && c</SCRIPT><script src=x></script><p>no</p><script>if (x) '<p>'</script>"
    style = "<style media=print>p > a { content: '<script>' }\r</style><link rel=stylesheet href=x>"
    assert inline_digests(html + style) == {
        "script": [digest("\na < b && c"), digest("if (x) '<p>'")],
        "style": [digest("p > a { content: '<script>' }\n")],
    }
    assert inline_digests("<p>none</p>") == {"script": [], "style": []}
