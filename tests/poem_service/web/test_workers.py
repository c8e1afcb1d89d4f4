"""Several processes behind one port, and the signal that ends them."""

import subprocess
import sys

SCRIPT = """
import functools, multiprocessing.connection, signal
from poem_service.web.workers import bind, supervise

class Work:
    def __reduce__(self):  # a worker is being started
        print("started", flush=True)
        signal.raise_signal(signal.SIGTERM)
        return functools.partial(multiprocessing.connection.wait, timeout=30).__reduce__()

supervise(Work(), bind("127.0.0.1", 0), 3)
"""


def test_a_signal_while_the_workers_start_stops_them_all() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=15, check=True)
    assert (done.stdout, done.stderr) == ("started\n", "")
