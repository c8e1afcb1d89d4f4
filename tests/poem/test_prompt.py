from pathlib import Path
from random import Random

from poem.deck import builtin_deck
from poem.hand import deal, draw_candidates
from poem.prompt import prompt_version, render_prompt

GOLDEN = Path(__file__).parent / "golden" / "prompt.txt"


def test_the_prompt_is_the_golden_file_byte_for_byte() -> None:
    rng = Random(20)
    prompt = render_prompt(deal(builtin_deck(), rng), draw_candidates(builtin_deck(), rng))
    assert f"{prompt.system}\n----\n{prompt.user}\n".encode() == GOLDEN.read_bytes()


def test_the_version_changes_only_with_the_templates() -> None:
    assert prompt_version() == "3fe51ea30681"
