"""A poem beside its hand, as a report shows it."""

from typing import Literal

from poem_build.judge.figures import Figures


class Reality(Figures):
    """A card of a hand with the wording that was picked."""

    card_id: str
    wording_id: str
    category: str
    condition_text: str
    strength: int
    poem_text: str


class Broken(Figures):
    """A rule that a poem breaks, and where: characters `start` to `end` of `part`; null where it is no one place."""

    rule: str
    part: Literal["title", "poem"]
    found: str
    start: int | None
    end: int | None


class Specimen(Figures):
    """A poem beside its hand."""

    writer: str
    hand: list[Reality]
    title: str
    poem: str
    """As it came where it is no answer."""
    broken: list[Broken]
    tries: int
    """It took; with the last one's text if none kept the rules."""
    beside: str
    """Another's poem for the same hand, where there is one."""
    beside_writer: str
