"""The docker command, which tells what the stack's files mean without an engine."""

import shutil

import pytest


def docker_command() -> str:
    """Its path; the test is skipped where it is not there."""
    if (found := shutil.which("docker")) is None:
        pytest.skip("the docker command is not there")
    return found
