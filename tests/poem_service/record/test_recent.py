"""What the stand's page remembers."""

from poem.hand import Answer
from poem_service.errors import Reason
from poem_service.record.outcome import Outcome
from poem_service.record.recent import KEPT, Recent
from support.served import a_hand


def test_the_last_ten_that_were_not_the_model_s_are_kept() -> None:
    recent = Recent()
    for n in range(15):
        reason = None if n % 5 == 0 else Reason.BUSY if n < 5 else Reason.TIMEOUT
        recent.note(Outcome(a_hand(1), Answer("題", "詩"), "composed" if reason else "model", n, 1.0, reason))
    assert recent.today() == {"model": 3, "composed": 12}
    assert len(recent.misses) == KEPT == 10
    assert [miss.reason for miss in recent.misses] == [Reason.BUSY] * 2 + [Reason.TIMEOUT] * 8
