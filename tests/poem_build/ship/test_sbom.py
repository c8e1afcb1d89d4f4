"""A bill of materials is a function of its image."""

import json
from typing import Any

from poem_build.ship.sbom import repeatable

CREATED = "2026-11-27T01:39:53Z"


def bill(serial: str, time: str, name: str = "uvicorn") -> dict[str, Any]:
    """As Syft writes it, in its order."""
    return {
        "bomFormat": "CycloneDX",
        "serialNumber": serial,
        "version": 1,
        "metadata": {"timestamp": time, "tools": {"components": [{"name": "syft"}]}},
        "components": [{"name": name}],
    }


def test_two_runs_over_one_image_write_the_same_bytes() -> None:
    one = repeatable(bill("urn:uuid:1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "2026-11-27T02:00:00Z"), CREATED)
    two = repeatable(bill("urn:uuid:6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b", "2026-11-28T03:00:00Z"), CREATED)
    assert json.dumps(one) == json.dumps(two)
    assert one["metadata"] == {"timestamp": CREATED, "tools": {"components": [{"name": "syft"}]}}
    assert list(one) == list(bill("", ""))


def test_another_content_has_another_serial() -> None:
    serials = {repeatable(bill("urn:uuid:0", "", name), CREATED)["serialNumber"] for name in ("uvicorn", "starlette")}
    assert len(serials) == 2
    assert all(serial.startswith("urn:uuid:") for serial in serials)
