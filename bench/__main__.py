"""`make bench`: every benchmark in turn, each as a process of its own, each ending with a table of ratios."""

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).parent
    failed = [
        path.stem
        for path in sorted(here.glob("[a-z]*.py"))
        if subprocess.run([sys.executable, "-m", f"bench.{path.stem}", *sys.argv[1:]], cwd=here.parent).returncode
    ]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
