"""Players who know a service's address and nothing else → what each hand came to, one JSON object a line.

Standard library only, and one file: a container that has no more than Python plays it from standard input.
    python players.py URL PLAYERS SECONDS    or    python players.py URL PLAYERS SECONDS HANDS
"""

import json
import random
import sys
import threading
import time
import urllib.request

_PATIENCE_S = 90
"""The game's own."""


def main(url: str, players: int, seconds: float, hands: int | None) -> None:
    """Play until the time is up, or so many hands by each player."""
    end = time.monotonic() + seconds
    lock = threading.Lock()

    def play() -> None:
        played = 0
        while time.monotonic() < end and (hands is None or played < hands):
            told = json.dumps(one_hand(url), ensure_ascii=False)
            played += 1
            with lock:
                sys.stdout.write(f"{told}\n")
                sys.stdout.flush()

    threads = [threading.Thread(target=play) for _ in range(players)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def one_hand(url: str) -> dict[str, object]:
    """Deal, pick wordings, ask for the poem."""
    started = time.time()
    try:
        with urllib.request.urlopen(f"{url}/api/deal", timeout=_PATIENCE_S) as dealt:
            cards = json.load(dealt)
        pairs = [{"conditionCard": card, "selectedPoem": random.choice(card["poems"])} for card in cards]
        body = json.dumps({"selectedPairs": pairs}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/api/generate-poem", body, headers)
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as reply:
            source, reason = reply.headers["X-Poem-Source"], reply.headers["X-Poem-Reason"]
            answer = json.load(reply)
    except (OSError, ValueError) as error:
        time.sleep(0.05)
        return {"at": started, "error": repr(error)}
    return {
        "at": started,
        "seconds": time.time() - started,
        "hand": [[pair["conditionCard"]["id"], pair["selectedPoem"]["id"]] for pair in pairs],
        "source": source,
        "reason": reason,
        "answer": answer,
    }


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else None)
