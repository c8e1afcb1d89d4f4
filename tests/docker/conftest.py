"""The images that these tests look at, built once by the users' own command: those of the stack with Ollama where
OLLAMA_BASE_IMAGE names an image that is here, those of the embedded stack otherwise."""

import os

import pytest

from poem_build.ship import containers
from poem_build.ship.stack import Choice, image, settled
from support.stack import Built

RECIPE = "tiny"


@pytest.fixture(scope="session")
def engine() -> None:
    if not containers.reachable():
        pytest.skip("no Docker engine answers; `docker info` says why")


@pytest.fixture(scope="session")
def built(engine: None) -> Built:
    base = os.environ.get("OLLAMA_BASE_IMAGE")
    if base is not None and containers.image(base) is None:
        pytest.fail(f"OLLAMA_BASE_IMAGE: {base} is not here; build or pull it, or unset it to test the embedded stack")
    kind = "" if base else "embedded"
    image(RECIPE, None, "", kind)
    compose, config = settled(Choice(RECIPE), "", kind)
    return Built(kind, compose, config)


def pytest_report_header() -> str:
    base = os.environ.get("OLLAMA_BASE_IMAGE")
    return (
        f"docker: the stack with Ollama from {base}" if base else "docker: OLLAMA_BASE_IMAGE is not set: embedded stack"
    )
