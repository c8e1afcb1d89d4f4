"""Every variable: what it takes, and how a bad value is refused."""

import ipaddress
import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from poem_service.errors import SettingsError
from poem_service.settings import Settings
from poem_service.variables import ALL_LAYERS, VARIABLES, Listed
from support.process import free_port

BAD = {
    "POEM_PORT": "0",
    "POEM_HOST": "not a host",
    "POEM_ENGINE": "gpt",
    "POEM_ENGINES": "10%:ollama=http://a:1",
    "OLLAMA_HOST": "ftp://x",
    "POEM_MODEL": "no spaces",
    "POEM_GGUF": "/no/such.gguf",
    "POEM_DEADLINE_S": "90",
    "POEM_GAME": "/no/such/folder",
    "POEM_DECK": "/no/such.json",
    "POEM_CATCHPHRASES": "/no/such.json",
    "POEM_DECK_POLICY": "closed",
    "POEM_TABLE": "/no/such.sqlite3",
    "POEM_LOG_DB": "/no/such/folder/log.sqlite3",
    "POEM_GAME_DIST": "/no/such/folder",
    "POEM_GAME_SOURCES": "https://a.jp; script-src *",
    "POEM_ALLOWED_ORIGINS": "example.jp",
    "POEM_MAX_ACTIVE": "0",
    "POEM_GPU": "yes",
    "POEM_GPU_LAYERS": "-2",
    "POEM_OPENAI_URL": "localhost:8080",
    "POEM_OPENAI_KEY": "short",
    "POEM_API_KEY": "クリップ",
    "POEM_RATE_LIMIT": "-1",
    "POEM_TRUSTED_PROXIES": "10.0.0.0/99",
    "POEM_WRITER": "both",
    "POEM_DEAL": "some",
    "POEM_WORKERS": "0",
}
# What is given, and the one field that it changes.
GOOD: dict[str, tuple[str, str, Any]] = {
    "POEM_PORT": ("3101", "port", 3101),
    "POEM_HOST": ("0.0.0.0", "host", "0.0.0.0"),
    "POEM_ENGINE": ("ollama", "engine", "ollama"),
    "POEM_ENGINES": (
        "ollama=10.1.2.3, embedded=a.file, 5%:openai=http://b:8000/v1#next",
        "engines",
        (
            Listed("ollama", "http://10.1.2.3:11434"),
            Listed("embedded", "a.file"),
            Listed("openai", "http://b:8000/v1", "next", 0.05),
        ),
    ),
    "OLLAMA_HOST": ("10.1.2.3:11500", "ollama_url", "http://10.1.2.3:11500"),
    "POEM_MODEL": ("/models/gemma@q4_k_m", "model", "/models/gemma@q4_k_m"),
    "POEM_GGUF": ("a.file", "gguf", Path("a.file")),
    "POEM_DEADLINE_S": ("31", "deadline_s", 31.0),
    "POEM_GAME": ("dist", "game", Path("dist")),
    "POEM_DECK": ("b.file", "deck", Path("b.file")),
    "POEM_CATCHPHRASES": ("c.file", "catchphrases", Path("c.file")),
    "POEM_DECK_POLICY": ("known", "deck_policy", "known"),
    "POEM_TABLE": ("d.file", "table", Path("d.file")),
    "POEM_LOG_DB": ("e.new", "log_db", Path("e.new")),
    "POEM_GAME_DIST": ("dist", "game_dist", Path("dist")),
    "POEM_GAME_SOURCES": ("https://*.a.jp/, https://b.jp", "game_sources", ("https://*.a.jp", "https://b.jp")),
    "POEM_ALLOWED_ORIGINS": ("https://a.example.jp", "allowed_origins", ("https://a.example.jp",)),
    "POEM_MAX_ACTIVE": ("7", "max_active", 7),
    "POEM_GPU": ("expected", "gpu", "expected"),
    "POEM_GPU_LAYERS": ("12", "gpu_layers", 12),
    "POEM_OPENAI_URL": ("http://10.1.2.4:8080", "openai_url", "http://10.1.2.4:8080"),
    "POEM_OPENAI_KEY": ("of-the-server", "openai_key", "of-the-server"),
    "POEM_API_KEY": ("the-old-one,the-new-one", "api_keys", ("the-old-one", "the-new-one")),
    "POEM_RATE_LIMIT": ("9", "rate_limit", 9),
    "POEM_TRUSTED_PROXIES": ("10.0.0.0/8", "trusted_proxies", (ipaddress.ip_network("10.0.0.0/8"),)),
    "POEM_WRITER": ("table", "writer", "table"),
    "POEM_DEAL": ("prepared", "deal", "prepared"),
    "POEM_WORKERS": ("1", "workers", 1),
}


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"POEM_PORT": " ", "POEM_ENGINE": ""}) == Settings()


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_its_own_setting(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dist").mkdir()
    for file in ("a.file", "b.file", "c.file", "d.file", "dist/index.html"):
        (tmp_path / file).touch()
    text, field, value = GOOD[name]
    assert Settings.from_env({name: text}) == replace(Settings(), **{field: value})


def test_workers_share_what_the_model_does_at_once() -> None:
    assert Settings.from_env({"POEM_WORKERS": "4", "POEM_MAX_ACTIVE": "8"}).workers == 4
    assert Settings.from_env({"POEM_WORKERS": "4", "POEM_ENGINE": "none"}).workers == 4
    with pytest.raises(SettingsError, match="POEM_WORKERS: 4 workers share POEM_MAX_ACTIVE=1"):
        Settings.from_env({"POEM_WORKERS": "4"})


def test_a_stand_that_deals_what_is_prepared_shows_it() -> None:
    assert Settings().policy == "model"
    assert Settings(deal="prepared").policy == "auto"
    assert Settings(deal="prepared", writer="model").policy == "model"


@pytest.mark.parametrize("name", VARIABLES)
def test_a_bad_value_is_refused_with_name_value_and_what_is_allowed(name: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({name: BAD[name]})
    message = str(refusal.value)
    assert message.startswith(f"{name}: ")
    assert message.endswith(f"give {VARIABLES[name][2]}")
    assert (BAD[name] in message) == (name not in ("POEM_API_KEY", "POEM_OPENAI_KEY"))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("POEM_PORT", '"３００２"  # the stand', 3002),
        ("POEM_DEADLINE_S", "'１２．５'", 12.5),
        ("POEM_ENGINE", "Ollama", "ollama"),
        ("POEM_HOST", "[::1]/", "::1"),
        ("POEM_HOST", "::", "::"),
        ("OLLAMA_HOST", '"::1"', "http://[::1]:11434"),
        ("POEM_OPENAI_URL", "http://localhost:1234/v1/ # LM Studio", "http://localhost:1234/v1"),
        ("POEM_API_KEY", '"a-long-key" # new', ("a-long-key",)),
        ("POEM_MODEL", "'mansion-poem:tiny'\r", "mansion-poem:tiny"),
        ("POEM_GPU_LAYERS", "ALL", ALL_LAYERS),
        ("POEM_WORKERS", "１", 1),
    ],
)
def test_a_value_is_understood_as_people_write_it(name: str, text: str, value: object) -> None:
    assert getattr(Settings.from_env({name: text}), VARIABLES[name][0]) == value


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("https://example.jp/", "https://example.jp"),
        ("HTTPS://Example.JP", "https://example.jp"),
        ("https://example.jp:443", "https://example.jp"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:5173/", "http://localhost:5173"),
        ("https://例え.jp", "https://xn--r8jz45g.jp"),
        ("http://[::1]:5173", "http://[::1]:5173"),
    ],
)
async def test_an_origin_is_allowed_as_a_browser_sends_it(text: str, sent: str) -> None:
    settings = Settings.from_env({"POEM_ALLOWED_ORIGINS": f"https://other.jp {text}", "POEM_ENGINE": "none"})
    assert settings.allowed_origins == ("https://other.jp", sent)


@pytest.mark.parametrize("text", ["https://*.example.jp", "example.jp", "https://example.jp/game", "null", "*.jp"])
def test_an_origin_that_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^POEM_ALLOWED_ORIGINS: "):
        Settings.from_env({"POEM_ALLOWED_ORIGINS": text})


@pytest.mark.parametrize(("engine", "needs"), [("embedded", "POEM_GGUF"), ("openai", "POEM_OPENAI_URL")])
def test_an_engine_that_lacks_its_place_is_refused(engine: str, needs: str) -> None:
    with pytest.raises(SettingsError, match=f"^{needs}: not set"):
        Settings.from_env({"POEM_ENGINE": engine})


@pytest.mark.parametrize("engine", ["auto", "embedded"])
def test_the_embedded_engine_takes_one_at_a_time(engine: str, tmp_path: Path) -> None:
    (gguf := tmp_path / "model.gguf").touch()
    environ = {"POEM_ENGINE": engine, "POEM_GGUF": str(gguf), "POEM_MAX_ACTIVE": "2"}
    with pytest.raises(SettingsError, match=r"^POEM_MAX_ACTIVE: 2 is for "):
        Settings.from_env(environ)
    assert Settings.from_env(environ | {"POEM_ENGINE": "ollama"}).max_active == 2


def test_nothing_secret_shows() -> None:
    environ = {
        "POEM_API_KEY": "a-secret-key",
        "POEM_OPENAI_KEY": "another-secret",
        "OLLAMA_HOST": "http://us:secret@stand:11434",
        "POEM_OPENAI_URL": "https://us:secret@api.example.jp",
    }
    assert "secret" not in repr(Settings.from_env(environ))
    for name in ("OLLAMA_HOST", "POEM_OPENAI_URL"):
        for spoilt in ("ftp://us:secret@h", "http://us:sec ret@h:99999", "us:secret@h:x", "http://h?key=secret"):
            with pytest.raises(SettingsError) as refusal:
                Settings.from_env({name: spoilt})
            assert "ret" not in str(refusal.value)


def test_what_has_no_effect_is_told_and_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    (gguf := tmp_path / "model.gguf").touch()
    environ = {"POEM_ENGINE": "ollama", "POEM_GGUF": str(gguf), "POEM_OPENAI_KEY": "a-secret-key"}
    assert Settings.from_env(environ).idle == ("POEM_GGUF", "POEM_OPENAI_KEY")
    assert Settings.from_env({"POEM_GGUF": str(gguf), "POEM_GPU_LAYERS": "7"}).idle == ()
    for engine in ("openai", "none"):
        environ = {"POEM_ENGINE": engine, "POEM_GPU": "expected", "POEM_OPENAI_URL": "http://h"}
        with pytest.raises(
            SettingsError, match=f"^POEM_GPU: expected cannot be looked after with POEM_ENGINE={engine}"
        ):
            Settings.from_env(environ)
    environ = {"POEM_GGUF": str(gguf), "POEM_GPU": "expected", "POEM_GPU_LAYERS": "0"}
    with pytest.raises(SettingsError, match=r"^POEM_GPU_LAYERS: 0 puts nothing on the GPU"):
        Settings.from_env(environ)


def test_all_values_land(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("x")
    environ = {
        "POEM_PORT": "3002",
        "POEM_DEADLINE_S": "12.5",
        "POEM_GAME_DIST": str(tmp_path),
        "POEM_LOG_DB": str(tmp_path / "log.sqlite3"),
        "POEM_ALLOWED_ORIGINS": "https://a.jp, http://localhost:5173",
        "POEM_RATE_LIMIT": "30",
    }
    found: dict[str, Any] = {name: getattr(Settings.from_env(environ), VARIABLES[name][0]) for name in environ}
    assert found == {
        "POEM_PORT": 3002,
        "POEM_DEADLINE_S": 12.5,
        "POEM_GAME_DIST": tmp_path,
        "POEM_LOG_DB": tmp_path / "log.sqlite3",
        "POEM_ALLOWED_ORIGINS": ("https://a.jp", "http://localhost:5173"),
        "POEM_RATE_LIMIT": 30,
    }


def test_a_bad_setting_stops_the_start_with_one_line() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "poem_service"],
        env={"POEM_PORT": "many", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 2
    assert found.stderr == "poem-service: POEM_PORT: 'many' is not allowed; give a port from 1 to 65535\n"


def test_a_game_s_folder_and_its_files_are_not_both_given(tmp_path: Path) -> None:
    (tmp_path / "cards.json").write_text("[]", "utf-8")
    environ = {"POEM_GAME": str(tmp_path), "POEM_DECK": str(tmp_path / "cards.json")}
    with pytest.raises(SettingsError, match="POEM_GAME: is set beside POEM_DECK or POEM_CATCHPHRASES; give the folder"):
        Settings.from_env(environ)


PATHS = [name for name, bad in BAD.items() if bad.startswith("/no/such")]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("path", ["~nobody-of-that-name/x", "/" + "x" * 5000, "/dev/null/x"])
def test_a_path_of_any_kind_is_one_line(name: str, path: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({name: path})
    assert str(refusal.value).startswith(f"{name}: ")
    assert "\n" not in str(refusal.value)


def test_a_path_that_is_closed_to_us_is_one_line(tmp_path: Path) -> None:
    """As under umask 077 or SELinux: seen by another user than the one who owns it."""
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "index.html").touch()
    (unread := tmp_path / "unread").touch()
    tmp_path.chmod(0o755)
    unread.chmod(0o000)
    closed.chmod(0o000)
    paths = dict.fromkeys(PATHS, str(closed / "x")) | {"POEM_GGUF": str(unread), "POEM_GAME": str(closed)}
    script = (
        "import json, os, sys\n"
        "from poem_service.settings import Settings\n"
        "from poem_service.errors import SettingsError\n"
        "paths = json.loads(sys.argv[1])\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "for name, path in paths.items():\n"
        "    try: Settings.from_env({name: path}); print('none')\n"
        "    except SettingsError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, json.dumps(paths)]
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    closed.chmod(0o755)
    assert done.stderr == ""
    told = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in told] == list(paths)
    assert all("Permission denied; give " in line for line in told)


def refused(**environ: str) -> str:
    """The one line with which the start is refused."""
    done = subprocess.run(
        [sys.executable, "-m", "poem_service"],
        env={"POEM_ENGINE": "none", "PYTHONPATH": ":".join(sys.path), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    return done.stderr.removeprefix("poem-service: ").rstrip("\n")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_stops_the_start(workers: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = refused(POEM_PORT=port, POEM_WORKERS=workers)
    remedy = "stop what listens there, or give another"
    assert told == f"POEM_PORT: {port} on 127.0.0.1: Address already in use; {remedy}"


@pytest.mark.parametrize("host", ["nohost.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_stops_the_start(host: str) -> None:
    told = refused(POEM_HOST=host, POEM_PORT=str(free_port()))
    assert told.startswith(f"POEM_HOST: {host}: ")
    assert told.endswith("; give an address or a name of this machine")


@pytest.mark.parametrize("name", ["POEM_GAME", "POEM_DECK", "POEM_CATCHPHRASES", "POEM_TABLE", "POEM_LOG_DB"])
def test_a_file_that_is_no_good_is_told_of_the_variable_that_names_it(tmp_path: Path, name: str) -> None:
    """A folder without a game in it, or a file of another kind."""
    path = tmp_path if name == "POEM_GAME" else tmp_path / "anything"
    (tmp_path / "anything").write_text("root:x:0:0", "utf-8")
    assert refused(**{name: str(path), "POEM_PORT": str(free_port())}).startswith(f"{name}: {path}")
