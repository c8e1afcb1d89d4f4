"""The environment as people write it → the credentials that every command asks with, or one line."""

import pytest

from poem_build.cli.evaluation import place_of
from poem_build.cli.keys import credentials
from poem_build.client import Credentials
from poem_build.errors import TeacherError
from poem_build.evaluation.names import writer_names

OPENAI = "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("key", "address", "found"),
    [
        ("sk-1", "", Credentials(OPENAI, "sk-1")),
        (" “sk-1” # mine", '"http://10.0.0.5:8000/v1/"', Credentials("http://10.0.0.5:8000/v1", "sk-1")),
        ("", "http://10.0.0.5:8000/v1", Credentials("http://10.0.0.5:8000/v1", "")),
    ],
)
def test_a_value_is_read_as_it_is_meant(
    monkeypatch: pytest.MonkeyPatch, key: str, address: str, found: Credentials
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    assert place_of(writer_names(("f16", "openai:m/free")), "there").openai == found
    assert "sk-1" not in repr(found)


@pytest.mark.parametrize(
    ("key", "address", "told"),
    [
        ("", "", "OPENAI_API_KEY: not set; export the key, it is written nowhere"),
        ("鍵", "", "OPENAI_API_KEY: holds characters that no key has; export it again"),
        ("k", "here:80", "OPENAI_BASE_URL: 'here:80' is no address; give an http or https URL"),
        (
            "k",
            "ftp://me:pass@here",
            "OPENAI_BASE_URL: 'ftp://(not shown)@here' is no address; give an http or https URL",
        ),
    ],
)
def test_what_can_be_no_value_is_told_to_whoever_needs_it(
    monkeypatch: pytest.MonkeyPatch, key: str, address: str, told: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(TeacherError) as caught:
        place_of(writer_names(("openai:m",)), "there")
    assert str(caught.value) == told
    assert place_of(writer_names(("f16", "ollama:openai:m")), "there").openai == Credentials()


def test_who_needs_no_key_has_none() -> None:
    assert credentials("ollama", {"OLLAMA_API_KEY": "k"}) == Credentials()
    assert credentials("gemini", {"GEMINI_API_KEY": "k"}) == Credentials("", "k")
