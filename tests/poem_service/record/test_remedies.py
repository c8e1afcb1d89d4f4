"""Every reason has its words."""

from poem_service.errors import Reason
from poem_service.record.remedies import REMEDIES


def test_every_reason_says_what_it_means_and_what_to_do() -> None:
    assert set(REMEDIES) == set(Reason)
    for meaning, remedy in REMEDIES.values():
        assert meaning
        assert not meaning.endswith("。")
        assert remedy.endswith("。")
