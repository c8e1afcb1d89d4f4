"""Players who know a service's address and nothing else → what each hand came to, one JSON object a line.

Standard library only, and one file: a container that has no more than Python plays it from standard input.
    python players.py URL PLAYERS SECONDS [HANDS [PATIENCE]]
With PATIENCE they ask again for so many seconds where nobody takes their question, and tell when that was.
"""

import http.client
import json
import random
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

_PATIENCE_S = 90
"""The game's own."""


class Player:
    """One of them."""

    def __init__(self, url: str, patience_s: float) -> None:
        self._url, self._patience_s = url, patience_s
        self.refused: list[float] = []
        """When nobody took a question."""

    def ask(self, path: str, body: bytes | None = None) -> tuple[http.client.HTTPMessage, Any]:
        """The answer; a question that nobody takes is asked again, one that is answered badly is not."""
        headers = {"Content-Type": "application/json"} if body else {}
        until = time.time() + self._patience_s
        while True:
            try:
                request = urllib.request.Request(f"{self._url}{path}", body, headers)
                with urllib.request.urlopen(request, timeout=_PATIENCE_S) as reply:
                    return reply.headers, json.load(reply)
            except (urllib.error.URLError, ConnectionError) as error:
                if isinstance(error, urllib.error.HTTPError) or time.time() > until:
                    raise
                self.refused.append(time.time())
                time.sleep(0.1)


def main(url: str, players: int, seconds: float, hands: int | None, patience_s: float) -> None:
    """Play until the time is up, SIGTERM says so, or so many hands by each player; a hand that is begun is ended."""
    end = time.monotonic() + seconds
    lock = threading.Lock()

    def stop(_: int, __: object) -> None:
        nonlocal end
        end = 0.0

    def play() -> None:
        played = 0
        while time.monotonic() < end and (hands is None or played < hands):
            told = json.dumps(one_hand(Player(url, patience_s)), ensure_ascii=False)
            played += 1
            with lock:
                sys.stdout.write(f"{told}\n")
                sys.stdout.flush()

    signal.signal(signal.SIGTERM, stop)
    threads = [threading.Thread(target=play) for _ in range(players)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def one_hand(player: Player) -> dict[str, object]:
    """Deal, pick wordings, ask for the poem."""
    started = time.time()
    try:
        _, cards = player.ask("/api/deal")
        pairs = [{"conditionCard": card, "selectedPoem": random.choice(card["poems"])} for card in cards]
        headers, answer = player.ask("/api/generate-poem", json.dumps({"selectedPairs": pairs}).encode())
    except (OSError, ValueError, http.client.HTTPException) as error:
        time.sleep(0.05)
        return {"at": started, "error": repr(error)}
    return {
        "at": started,
        "seconds": time.time() - started,
        "hand": [[pair["conditionCard"]["id"], pair["selectedPoem"]["id"]] for pair in pairs],
        "source": headers["X-Poem-Source"],
        "reason": headers["X-Poem-Reason"],
        "answer": answer,
        "refused": player.refused,
    }


if __name__ == "__main__":
    url, players, seconds, hands, patience_s, *_ = [*sys.argv[1:], "", ""]
    main(url, int(players), float(seconds), int(hands) if hands else None, float(patience_s or 0))
