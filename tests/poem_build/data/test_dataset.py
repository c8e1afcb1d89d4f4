import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from poem.deck import CANDIDATES, Deck
from poem.errors import GameError
from poem.game import HandWritten, builtin_game
from poem.hand import PAIRS, Answer, deal, hand_of
from poem.pattern import pattern_key
from poem.rules import check
from poem_build.cli import pipeline
from poem_build.data.corpus import corpus
from poem_build.data.examples import Example, write_examples
from poem_build.data.examples import read_examples as read_of
from poem_build.data.hands import SPLITS, Split, hands, split_of
from poem_build.data.taught import read_taught, write_taught
from poem_build.errors import DatasetError
from poem_build.recipe.schema import Recipe
from poem_build.store.digest import sha256
from support.chain import changed, workshop_of

GAME = builtin_game()
DECK = GAME.deck


def read_examples(path: Path) -> list[Example]:
    return read_of(path, GAME)


def test_no_hand_is_in_two_splits_and_every_answer_keeps_the_rules(out: Path) -> None:
    read = {split: read_examples(out / "dataset" / f"{split}.jsonl") for split in SPLITS}
    assert {split: len(examples) for split, examples in read.items()} == {"train": 24, "valid": 4, "test": 6}
    keys = [pattern_key(e.hand) for examples in read.values() for e in examples]
    assert len(set(keys)) == len(keys)
    for split, examples in read.items():
        assert all(split_of(e.hand) == split for e in examples)
        assert all(check(e.answer, e.hand, e.candidates) == [] for e in examples)


def test_the_data_set_says_what_it_is(out: Path) -> None:
    told = json.loads((out / "dataset" / "dataset.json").read_text("utf-8"))
    assert (told["teacher"], told["cost_usd"], told["splits"]["train"]["examples"]) == ("composer", 0, 24)
    assert (told["game"], told["game_digest"], told["prompt_version"]) == ("", DECK.digest, GAME.prompt_version)
    assert told["files"]["test"] == sha256(out / "dataset" / "test.jsonl")


def test_the_plain_text_of_a_base_holds_training_hands_only_and_nothing_of_the_prompt(recipe: Recipe) -> None:
    assert recipe.pretrain is not None
    texts = [shown + said for phase in recipe.pretrain.phases for shown, said in corpus(phase, recipe.pretrain.seed)]
    assert not any("【" in text or '{"title"' in text or "<|im_start|>" in text for text in texts)
    pairs = {f"{c.condition_text}、{w.poem_text.rstrip('。')}。": (c.id, w.id) for c in DECK.cards for w in c.poems}
    told = [[pairs[line] for line in text.split("\n") if line in pairs] for text in texts]
    found = [hand_of(DECK, ids) for ids in told if len(ids) == PAIRS]
    assert len(found) > 10
    assert {split_of(hand) for hand in found} == {"train"}


def test_poems_by_hand_are_mixed_into_the_training_as_often_as_asked_and_held_out_ones_never(
    recipe: Recipe, out: Path, tmp_path: Path
) -> None:
    source = read_examples(out / "dataset" / "train.jsonl")[:3]
    poems = [HandWritten(one.hand, one.answer, held_out=n == 2) for n, one in enumerate(source)]
    poems += [HandWritten(source[0].hand, Answer("題", "規則に合わない。"), held_out=False)]
    game = replace(GAME, poems=tuple(poems), digest="with poems")
    made = pipeline.make(workshop_of(changed(recipe, "dataset", handwritten=30), tmp_path, game=game), "dataset")
    read = {split: read_examples(made.path / f"{split}.jsonl") for split in SPLITS}
    plain = read_examples(out / "dataset" / "train.jsonl")
    assert read["train"][: len(plain)] == plain
    added = read["train"][len(plain) :]
    assert [(e.hand, e.answer) for e in added] == [(one.hand, one.answer) for one in source[:2]] * 30
    assert len({(e.hand, e.candidates) for e in added}) == len(added)
    assert len({e.candidates.index(e.answer.title) for e in added}) > CANDIDATES / 2
    told = json.loads((made.path / "dataset.json").read_text("utf-8"))
    assert (told["handwritten"], told["splits"]["train"]["examples"]) == (60, 84)
    for split in ("valid", "test"):
        assert (made.path / f"{split}.jsonl").read_bytes() == (out / "dataset" / f"{split}.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("instructions", "why"),
    [
        ("詩を書く。\u3000短く。", r"loses '\\u3000'; replace it"),
        ("\t詩を書く。", r"loses '\\t'; replace it"),
        ("👨\u200d👩\u200d👧の詩。", r"loses '\\u200d'; replace it"),
        ('"""詩"""を書く。', "cannot quote it; take the quotes out"),
        ('例 "詩"', "cannot quote it; take the quotes out"),
    ],
)
def test_instructions_that_no_modelfile_carries_are_refused_before_anything_is_made(
    recipe: Recipe, tmp_path: Path, instructions: str, why: str
) -> None:
    workshop = workshop_of(recipe, tmp_path, game=replace(GAME, name="ours", instructions=instructions))
    with pytest.raises(GameError, match=rf"^game ours: system\.txt: a Modelfile {why}$"):
        list(pipeline.run_all(workshop))
    assert not (tmp_path / "dataset").exists()


def test_a_teachers_few_poems_come_first_and_the_composer_fills_up_all_but_the_test(
    recipe: Recipe, out: Path, tmp_path: Path
) -> None:
    few = _taught(out, tmp_path, 2, 2, 2)
    for filled, sizes in ((False, (2, 2, 2)), (True, (24, 4, 2))):
        asked = changed(recipe, "dataset", taught=tmp_path / "poems", filled=filled, seed=5)
        made = pipeline.make(workshop_of(asked, tmp_path), "dataset")
        read = {split: read_examples(made.path / f"{split}.jsonl") for split in SPLITS}
        assert tuple(len(read[split]) for split in SPLITS) == sizes
        assert {split: examples[:2] for split, examples in read.items()} == few
        assert len({pattern_key(one.hand) for some in read.values() for one in some}) == sum(sizes)
        report = json.loads((made.path / "dataset.json").read_text("utf-8"))
        assert (report["teacher"], report["cost_usd"], report["filled"]) == ("gemini", 0.5, sum(sizes) - 6)


def _taught(out: Path, room: Path, *sizes: int) -> dict[Split, list[Example]]:
    """What a teacher leaves who wrote so many poems of each split."""
    told = {"teacher": "gemini", "cost_usd": 0.5, "unwritten": 0, "game_digest": DECK.digest}
    few = {
        split: read_examples(out / "dataset" / f"{split}.jsonl")[:size]
        for split, size in zip(SPLITS, sizes, strict=True)
    }
    (room / "poems").mkdir()
    write_taught(room / "poems", GAME, few, told)
    return few


@pytest.mark.parametrize(
    ("filled", "sizes", "message"),
    [
        (False, (0, 2, 2), "train.jsonl: 0 of at least 1 poems"),
        (False, (2, 0, 2), "valid.jsonl: 0 of at least 1 poems"),
        (False, (2, 1, 1), "test.jsonl: 1 of at least 2 poems"),
        (True, (2, 0, 0), "test.jsonl: 0 of at least 2 poems"),
    ],
)
def test_a_teachers_poems_that_leave_a_split_too_small_are_refused(
    recipe: Recipe, out: Path, tmp_path: Path, filled: bool, sizes: tuple[int, ...], message: str
) -> None:
    _taught(out, tmp_path, *sizes)
    asked = changed(recipe, "dataset", taught=tmp_path / "poems", filled=filled)
    with pytest.raises(DatasetError) as caught:
        pipeline.make(workshop_of(asked, tmp_path), "dataset")
    remedy = "have more hands answered: by `poem-build teacher run`, or `export` and `import`"
    assert str(caught.value) == f"{tmp_path / 'poems'}/{message}; {remedy}"


@pytest.mark.parametrize("text", ["null", "3", "[1]", "{"])
def test_a_teachers_folder_whose_word_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "teacher.json").write_text(text, "utf-8")
    with pytest.raises(DatasetError, match=r"teacher\.json: not there or damaged; `poem-build teacher run` makes it"):
        read_taught(tmp_path, GAME)


def _small_deck(wordings: int) -> Deck:
    """The built-in deck cut down to five categories of one card."""
    cards = [replace(cards[0], poems=cards[0].poems[:wordings]) for cards in list(DECK.categories.values())[:5]]
    return Deck(tuple(cards), DECK.catchphrases)


def test_a_small_deck_deals_its_hands_again_when_it_has_no_more() -> None:
    found = list(islice(hands(_small_deck(3), "test", Random(1)), 40))
    different = {pattern_key(hand) for hand in found}
    assert 5 < len(different) < 40
    assert {pattern_key(hand) for hand in found[: len(different)]} == different


def test_a_deck_without_a_hand_for_a_split_is_refused() -> None:
    deck = _small_deck(1)
    lacking = "test" if split_of(next(hands(deck, "train", Random(1)))) == "train" else "train"
    with pytest.raises(DatasetError, match=f"the deck deals no hand that is for {lacking}; give it more cards"):
        next(hands(deck, lacking, Random(1)))  # type: ignore[arg-type]


def test_about_a_thirteenth_of_all_hands_is_held_out() -> None:
    rng = Random(2)
    splits = [split_of(deal(DECK, rng)) for _ in range(4000)]
    assert 0.04 < splits.count("test") / 4000 < 0.06
    assert 0.018 < splits.count("valid") / 4000 < 0.032


def test_examples_survive_being_written_and_read(out: Path, tmp_path: Path) -> None:
    examples = read_examples(out / "dataset" / "valid.jsonl")
    write_examples(tmp_path / "again.jsonl", GAME, examples)
    assert (tmp_path / "again.jsonl").read_bytes() == (out / "dataset" / "valid.jsonl").read_bytes()


def _line(out: Path) -> Any:
    return json.loads((out / "dataset" / "train.jsonl").read_text("utf-8").splitlines()[0])


def _twice(user: dict[str, str]) -> dict[str, str]:
    """The user message with the first pair in the second's place too."""
    lines = user["content"].split("\n")
    lines[2] = lines[1].replace("1. ", "2. ", 1)
    return user | {"content": "\n".join(lines)}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: "{", "line 2: column 2: not JSON"),
        (lambda m: json.dumps({"text": "x"}), "line 2: messages: must be three objects of role and content"),
        (lambda m: json.dumps({"messages": m[::-1]}), "line 2: messages: roles must be system, user, assistant"),
        (
            lambda m: json.dumps({"messages": [{**m[0], "content": "ほかの指示"}, *m[1:]]}),
            "line 2: messages: not the prompt of version",
        ),
        (
            lambda m: json.dumps({"messages": [m[0], {**m[1], "content": m[1]["content"].replace("→", "=")}, m[2]]}),
            "line 2: messages.1.content: ",
        ),
        (lambda m: json.dumps({"messages": [{**m[0], "role": 1}, *m[1:]]}), "line 2: messages: roles must be"),
        (
            lambda m: json.dumps({"messages": [m[0], _twice(m[1]), m[2]]}),
            "line 2: messages.1.content: a hand has five different cards",
        ),
        (
            lambda m: json.dumps({"messages": [*m[:2], {**m[2], "content": "詩"}]}),
            "line 2: messages.2.content: Expecting value",
        ),
        (
            lambda m: json.dumps(
                {"messages": [*m[:2], {**m[2], "content": m[2]["content"].replace("。", "です。", 1)}]}
            ),
            "line 2: messages.2.content: ",
        ),
    ],
)
def test_a_bad_line_is_named(out: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    path = tmp_path / "train.jsonl"
    good = _line(out)["messages"]
    path.write_text(json.dumps({"messages": good}) + "\n" + spoil(good) + "\n", "utf-8")
    with pytest.raises(DatasetError) as caught:
        read_examples(path)
    assert str(caught.value).startswith(f"{path}: {message}")
