"""Values as people write them: what they mean, how a URL with a password is shown, and who is beside us."""

import json
from pathlib import Path

import pytest

from poem.environment import (
    address_of,
    host_of,
    is_near,
    meant,
    ollama_url,
    server_url,
    split_user,
    without_password,
    without_passwords,
)
from poem.game import builtin_game, load_game
from support.written import WRITTEN


@pytest.mark.parametrize(("written", "value"), WRITTEN)
def test_a_value_is_what_was_meant(written: str, value: str) -> None:
    assert meant(written) == value


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("0.0.0.0:11434", "http://127.0.0.1:11434"),
        (":11500", "http://127.0.0.1:11500"),
        ("127.0.0.1:", "http://127.0.0.1:11434"),
        ("ollama:11434", "http://ollama:11434"),
        ("http://ollama", "http://ollama:80"),
        ("https://ollama.example.jp/", "https://ollama.example.jp:443"),
        ("http://stand/ollama/", "http://stand:80/ollama"),
        ("HTTP://Stand", "http://stand:80"),
        ("https://us:pa@ollama.example.jp", "https://us:pa@ollama.example.jp:443"),
        ("us:p/a@stand", "http://us:p%2Fa@stand:11434"),
        ("[::1]:11434", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("::1:11434", "http://[::1]:11434"),
        ("::", "http://[::1]:11434"),
        ("http://[::]:11500/", "http://[::1]:11500"),
        ('"127.0.0.1:11434/"  # here', "http://127.0.0.1:11434"),
        ("１２７．０．０．１：１１４３４", "http://127.0.0.1:11434"),
    ],
)
def test_ollama_host_takes_the_forms_that_ollama_takes(text: str, url: str) -> None:
    assert ollama_url(text) == url


@pytest.mark.parametrize("text", ["ftp://x", "h:99999", "h:x", "a b", "http://h/?key=1", "http://h/#a", "h:0", "[::1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ollama_url(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://localhost:8080/", "http://localhost:8080"),
        ("https://Api.Example.jp/v1/", "https://api.example.jp/v1"),
        ("'http://[::1]:8080/v1'", "http://[::1]:8080/v1"),
    ],
)
def test_a_server_s_url_ends_without_a_slash(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize("text", ["localhost:8080", "http://", "ws://h", ""])
def test_a_server_s_url_names_scheme_and_host(text: str) -> None:
    with pytest.raises(ValueError):
        server_url(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [("[::1]", "::1"), ("::", "::"), ("0:0::1", "::1"), ("LOCALHOST/", "localhost"), ("０．０．０．０", "0.0.0.0")],
)
def test_a_host_is_understood(text: str, host: str) -> None:
    assert host_of(text) == host


def test_an_ipv4_address_is_one_however_ipv6_writes_it() -> None:
    assert str(address_of("::ffff:10.0.0.1")) == "10.0.0.1"
    assert address_of("stand") is None


@pytest.mark.parametrize(
    ("url", "near"),
    [
        *((f"http://{host}:1", True) for host in ("localhost", "127.0.0.1", "[::1]", "10.1.2.3", "[fd00::1]")),
        *((f"http://{host}:1", True) for host in ("ollama", "host.docker.internal", "stand.local", "169.254.1.1")),
        *((f"http://{host}", False) for host in ("api.openai.com", "8.8.8.8", "u:p@stand.example.jp")),
    ],
)
def test_who_is_beside_us_is_met_without_a_proxy(url: str, near: bool) -> None:
    assert is_near(url) is near


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://us:pa@h:1/x", "http://(not shown)@h:1/x"),
        ("us:pa@h", "(not shown)@h"),
        ("ftp://us:p a/s@s@h", "ftp://(not shown)@h"),
        ("http://h/?token=pa", "http://h/?(not shown)"),
        ("http://h:99999", "http://h:99999"),
    ],
)
def test_a_value_is_shown_without_its_password(value: str, shown: str) -> None:
    assert without_password(value) == shown


def test_a_text_is_shown_without_any_password() -> None:
    text = 'cannot reach http://us:pa@h:1 nor "https://a:b/c@d" (http://e)'
    assert without_passwords(text) == 'cannot reach http://(not shown)@h:1 nor "https://(not shown)@d" (http://e)'
    assert split_user("http://us:p%2Fa@h:1/x") == ("us:p%2Fa", "http://h:1/x")


@pytest.mark.parametrize("written", ["utf-8-sig", "utf-16"])
def test_a_file_that_notepad_saved_is_read(written: str, tmp_path: Path) -> None:
    """With a byte order mark, and with the line ends of Windows."""
    cards = json.dumps([card.as_json() for card in builtin_game().deck.cards], ensure_ascii=False, indent=1)
    phrases = json.dumps(builtin_game().deck.catchphrases, ensure_ascii=False, indent=1)
    for name, text in {"cards.json": cards, "catchphrases.json": phrases, "system.txt": "書く。\nただ書く。"}.items():
        (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(written))
    game = load_game(tmp_path)
    assert game.deck.digest == builtin_game().deck.digest
    assert game.instructions == "書く。\nただ書く。"
