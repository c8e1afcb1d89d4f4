"""The whole stack: it answers at once, the model takes over, nobody sees the model die, and no route leads out.

Everything twice: published to this machine, and with no route out of any container and the players inside.
"""

import subprocess
import time
from collections.abc import Iterator

import pytest

from support import outside
from support.stack import Built, Stack, running

pytestmark = pytest.mark.docker
LOAD_S = 12.0


@pytest.fixture(scope="module", params=[False, True], ids=["published", "cut-off"])
def stack(request: pytest.FixtureRequest, built: Built) -> Iterator[Stack]:
    with running(built, cut_off=request.param) as found:
        yield found


def test_the_first_hand_is_answered_before_the_model_is_asked_for(stack: Stack) -> None:
    stack.wait_for("any", 30)
    first = stack.play(1, 30, hands=1)
    assert (first.hands, first.errors, first.against_rules) == (1, [], [])


def test_the_model_takes_over(stack: Stack) -> None:
    stack.wait_for("model")
    played = stack.play(2, 60, hands=10)
    assert (played.errors, played.against_rules) == ([], [])
    # What is against the rules three times is another's, honestly.
    assert played.sources["model"] >= 15, played.reasons


def test_nobody_sees_the_model_die(stack: Stack, built: Built) -> None:
    """Ollama is killed under load, twice: by the kernel's means, and by stopping its container for a while."""
    if built.kind == "embedded":
        pytest.skip("the service is the model's process here; the next test kills that")
    stack.wait_for("model")
    before = stack.started_at("ollama")
    players = stack.players(4, LOAD_S)
    time.sleep(LOAD_S / 6)
    stack.kill("ollama", "ollama")
    time.sleep(LOAD_S / 3)
    assert stack.do("kill", "ollama").returncode == 0
    time.sleep(LOAD_S / 6)
    assert stack.do("start", "ollama").returncode == 0
    played = players.played()
    assert (played.errors, played.against_rules) == ([], [])
    assert played.sources["model"] > 0, played
    assert played.sources["model"] < played.hands, f"nobody was there when it died: {played}"
    assert stack.started_at("ollama") != before
    stack.wait_for("model")
    assert stack.play(1, 60, hands=3).sources["model"] > 0


def test_a_service_that_dies_comes_back_by_itself(stack: Stack) -> None:
    stack.wait_for("model")
    before = stack.started_at("service")
    players = stack.players(4, LOAD_S)
    time.sleep(LOAD_S / 4)
    stack.kill("service", "poem-service")
    played = players.played()
    assert stack.started_at("service") != before
    assert played.against_rules == []
    assert "error" not in played.last, "the last hand is answered again"
    stack.wait_for("model")
    assert stack.play(1, 60, hands=3).sources["model"] > 0


def test_no_container_reaches_the_outside(stack: Stack, built: Built) -> None:
    """A container on Docker's usual network reaches a host behind this machine; ours do not, by address or by name."""
    if not outside.possible():
        pytest.skip("needs root and `ip` to make a host that could be reached")
    connect = f"exec 3<>/dev/tcp/{outside.ADDRESS}/{outside.PORT}"
    with outside.somebody():
        usual = ["docker", "run", "--rm", "--entrypoint", "bash", built.image("service"), "-c", connect]
        subprocess.run(usual, check=True, timeout=30)
        for service in stack.compose.config()["services"]:
            done = stack.do("exec", "-T", service, "timeout", "5", "bash", "-c", connect)
            assert done.returncode != 0, service
    wanted = "" if stack.inside else f"127.0.0.1:{stack.port}"
    assert stack.do("port", "service", "3001").stdout.strip().removeprefix(":0") == wanted


def test_ollama_is_published_nowhere(stack: Stack, built: Built) -> None:
    services = stack.compose.config()["services"]
    assert [name for name, service in services.items() if service.get("ports")] == ([] if stack.inside else ["service"])
