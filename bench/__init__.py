"""The chain and the service, timed → tables of ratios; what they stand on beside the product lies under tests/."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
