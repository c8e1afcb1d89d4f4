import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from poem.deck import CANDIDATES, builtin_deck
from poem.hand import PAIRS, deal, hand_of
from poem.handwritten import handwritten
from poem.pattern import pattern_key
from poem.rules import check
from poem_build.data import dataset
from poem_build.data.dataset import SPLITS, read_examples, split_of, write_examples
from poem_build.errors import DatasetError
from poem_build.recipe.schema import Recipe
from poem_build.store import artifact
from poem_build.train import pretrain as base

DECK = builtin_deck()


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
    assert (told["teacher"], told["cost_usd"], told["train"]["examples"]) == ("composer", 0, 24)
    assert told["files"]["test"] == artifact.sha256(out / "dataset" / "test.jsonl")


def test_the_plain_text_of_a_base_holds_training_hands_only_and_nothing_of_the_prompt(recipe: Recipe) -> None:
    assert recipe.pretrain is not None
    texts = [
        shown + said for phase in recipe.pretrain.phases for shown, said in base.corpus(phase, recipe.pretrain.seed)
    ]
    assert not any("【" in text or '{"title"' in text or "<|im_start|>" in text for text in texts)
    pairs = {f"{c.condition_text}、{w.poem_text}。": (c.id, w.id) for c in DECK.cards for w in c.poems}
    told = [[pairs[line] for line in text.split("\n") if line in pairs] for text in texts]
    found = [hand_of(DECK, ids) for ids in told if len(ids) == PAIRS]
    assert len(found) > 10
    assert {split_of(hand) for hand in found} == {"train"}


def test_poems_by_hand_are_held_out_with_their_hands() -> None:
    assert [poem.held_out for poem in handwritten()] == [split_of(p.hand) == "test" for p in handwritten()]


def test_poems_by_hand_are_mixed_into_the_training_as_often_as_asked_and_held_out_ones_never(
    recipe: Recipe, out: Path, tmp_path: Path
) -> None:
    mixed = recipe.model_copy(update={"dataset": recipe.dataset.model_copy(update={"handwritten": 3})})
    made = dataset.run(mixed, tmp_path)
    read = {split: read_examples(made.path / f"{split}.jsonl") for split in SPLITS}
    plain = read_examples(out / "dataset" / "train.jsonl")
    assert read["train"][: len(plain)] == plain
    added = read["train"][len(plain) :]
    free = [poem for poem in handwritten() if not poem.held_out]
    assert [(e.hand, e.answer) for e in added] == [(poem.hand, poem.answer) for poem in free] * 3
    assert len({(e.hand, e.candidates) for e in added}) == len(added) == 3 * 106
    assert len({e.candidates.index(e.answer.title) for e in added}) == CANDIDATES
    held_out = {pattern_key(poem.hand) for poem in handwritten() if poem.held_out}
    assert len(held_out) == 20
    assert held_out.isdisjoint(pattern_key(e.hand) for e in (*read["train"], *read["valid"]))
    told = json.loads((made.path / "dataset.json").read_text("utf-8"))
    assert (told["handwritten"], told["train"]["examples"]) == (318, 342)
    for split in ("valid", "test"):
        assert (made.path / f"{split}.jsonl").read_bytes() == (out / "dataset" / f"{split}.jsonl").read_bytes()


def test_about_a_thirteenth_of_all_hands_is_held_out() -> None:
    rng = Random(2)
    splits = [split_of(deal(DECK, rng)) for _ in range(4000)]
    assert 0.04 < splits.count("test") / 4000 < 0.06
    assert 0.018 < splits.count("valid") / 4000 < 0.032


def test_examples_survive_being_written_and_read(out: Path, tmp_path: Path) -> None:
    examples = read_examples(out / "dataset" / "valid.jsonl")
    write_examples(tmp_path / "again.jsonl", examples)
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
