"""What a build tells of a model: the very names, which older models have, and a note that is read as it was written."""

from poem import model_keys
from poem.model_keys import FORCED, GAME, PREFIX, VERDICT, read_note, standing_keys, write_note

TEMPLATE = "{{ .Prompt }}"


def test_the_names_are_those_that_models_have() -> None:
    names = ("PROMPT_VERSION", "GAME", "GAME_DIGEST", "VERDICT", "FORCED", "STAGES")
    assert [getattr(model_keys, name) for name in names] == [f"{PREFIX}{name.lower()}" for name in names]
    assert PREFIX == "mansion_poem."
    assert (model_keys.ADAPTER_FILE, model_keys.VERDICT_FILE) == ("adapter.gguf", "verdict.json")


def test_a_standing_is_told_where_there_is_one() -> None:
    assert standing_keys("", ()) == {}
    assert standing_keys("refused", ("a", "b")) == {VERDICT: "refused", FORCED: "a; b"}


def test_a_note_is_read_as_it_was_written_and_writes_nothing() -> None:
    keys = {GAME: "別の", FORCED: 'a */ b } {{ "c" }}'}
    noted = write_note(write_note(TEMPLATE, {GAME: "former", VERDICT: "passed"}), {})
    noted = write_note(noted, keys)
    assert noted.endswith(TEMPLATE)
    assert noted.count("*/") == 2  # each note's own end
    assert read_note(write_note(TEMPLATE, keys)) == keys
    assert read_note(noted) == keys | {VERDICT: "passed", GAME: "former"}


def test_no_note_and_a_damaged_one_say_nothing() -> None:
    assert write_note(TEMPLATE, {}) == TEMPLATE
    assert read_note(TEMPLATE) == read_note("{{/* mansion_poem {no JSON} */}}" + TEMPLATE) == {}
