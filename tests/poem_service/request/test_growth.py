"""The poem as it grows, however its JSON is cut."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from poem_service.request.growth import Growth


@given(
    poem=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    cuts=st.lists(st.integers(0, 400), max_size=30),
    ascii_only=st.booleans(),
)
def test_the_growing_poem_is_the_poem_however_it_is_cut(poem: str, cuts: list[int], ascii_only: bool) -> None:
    text = json.dumps({"title": "題", "poem": poem}, ensure_ascii=ascii_only)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    growth = Growth()
    pieces = [growth.feed(text[a:b]) for a, b in pairwise(edges)]
    grown = "".join(pieces)
    assert grown.encode("utf-16", "surrogatepass").decode("utf-16") == poem


@given(st.lists(st.text(max_size=20), max_size=20))
def test_the_growing_poem_bears_any_text(pieces: list[str]) -> None:
    growth = Growth()
    for piece in pieces:
        growth.feed(piece)
