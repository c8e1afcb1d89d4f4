"""A process that was started here → its end."""

import subprocess


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End it, by force if it does not go."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
