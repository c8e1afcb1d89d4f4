"""What asks a server on this machine meets it, whatever proxies the environment names."""

import ast
from pathlib import Path

import httpx
import pytest

import poem_build
from poem_build.client import async_client, client
from poem_build.engine import ollama, service
from poem_build.errors import OllamaError
from poem_build.ship.address import wait_for_page
from support.process import ROOT
from support.proxies import PROXIES, answering

PACKAGE = Path(poem_build.__file__).parent
ASKING = {"Client", "AsyncClient", "get", "post", "request", "stream", "urlopen"}
FAR_ONLY = {"environment.py"}
"""Asks the package index and nobody else."""


@pytest.fixture(autouse=True)
def _proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


async def test_this_machine_is_met_without_a_proxy(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"GGUF")
    with answering(body={"version": "0.33.0", "answers_from": "model", "models": []}) as port:
        host = f"http://localhost:{port}"
        with client(host, 5) as there:
            assert there.get("/").status_code == 200
        async with async_client(host, 5) as asking:
            assert (await asking.get(f"{host}/")).status_code == 200
        assert ollama.server_version(host) == "0.33.0"
        assert ollama.digests(host) == {}
        assert ollama.upload(host, tmp_path / "weights").startswith("sha256:")
        assert wait_for_page(host)["answers_from"] == "model"
        service.wait_for_model(host, _Running(), tmp_path / "log")  # type: ignore[arg-type]


class _Running:
    """A process that has not ended."""

    def poll(self) -> None:
        return None


def test_a_far_server_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(body={"version": "0.99.0"}) as port:
        for name in PROXIES:
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert ollama.server_version("http://ollama.example.invalid") == "0.99.0"
        monkeypatch.setenv("NO_PROXY", "example.invalid")
        assert ollama.server_version("http://ollama.example.invalid") is None


def test_nothing_asks_but_through_such_a_client() -> None:
    """A stray `httpx.get` would go by the environment again."""
    asking = []
    for path in [*PACKAGE.rglob("*.py"), ROOT / "build" / "environment.py"]:
        if path.name in FAR_ONLY or path == PACKAGE / "client.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKING:
                named = node.func.value
                if isinstance(named, ast.Name) and named.id in ("httpx", "request", "requests", "urllib"):
                    asking.append(f"{path.name}:{node.lineno}")
    assert asking == []


def test_a_password_is_not_said() -> None:
    with pytest.raises(OllamaError) as refused:
        ollama.call("http://us:secret@127.0.0.1:9", "GET", "/api/tags")
    assert "secret" not in str(refused.value)
    with pytest.raises(OllamaError) as refused:
        ollama.address("us:secret@stand:99999")
    assert "secret" not in str(refused.value)
    assert httpx.URL(ollama.address("::1")).port == 11434
