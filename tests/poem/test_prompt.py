import hashlib
from pathlib import Path
from random import Random

from poem.game import builtin_game
from poem.hand import deal, draw_candidates
from poem.prompt import SAMPLE_HAND, SAMPLE_TITLES, render_prompt

GOLDEN = Path(__file__).parent / "golden" / "prompt.txt"


def test_the_prompt_is_the_golden_file_byte_for_byte() -> None:
    rng = Random(20)
    game = builtin_game()
    prompt = render_prompt(game.instructions, deal(game.deck, rng), draw_candidates(game.deck, rng))
    assert f"{prompt.system}\n----\n{prompt.user}\n".encode() == GOLDEN.read_bytes()


def test_the_version_is_the_digest_of_a_whole_prompt() -> None:
    prompt = render_prompt(builtin_game().instructions, SAMPLE_HAND, SAMPLE_TITLES)
    assert prompt.user.splitlines()[5:] == ["5. 区分: 現実 → 言い換え", "【タイトル選択候補】", "1. 題", "2. 別の題"]
    assert builtin_game().prompt_version == hashlib.sha256(f"{prompt.system}\0{prompt.user}".encode()).hexdigest()[:12]


def test_todays_version_is_pinned_because_trained_models_carry_it() -> None:
    assert builtin_game().prompt_version == "53e7fd16cac0"
