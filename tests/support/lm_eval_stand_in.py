"""A program called `lm-eval` that answers at once: it keeps what it was asked and leaves results in lm-eval's shape."""

import json
import sys
from pathlib import Path

_PROGRAM = """#!{python}
import json, sys
from pathlib import Path

with Path({asked!r}).open("a") as file:
    file.write(json.dumps([sys.argv[1:], [path.name for path in sorted(Path.cwd().glob("*.jsonl"))]]) + "\\n")
told = json.loads(Path({told!r}).read_text())
if isinstance(told, str):
    sys.exit(told)
there = Path(sys.argv[sys.argv.index("--output_path") + 1]) / "model"
there.mkdir(parents=True)
(there / "results_2026-01-01.json").write_text(json.dumps(told))
"""
RESULTS = {
    "lm_eval_version": "0.4.13",
    "results": {
        "mansion_wording": {"alias": "mansion_wording", "acc,none": 0.75, "acc_stderr,none": 0.05},
        "mansion_plain": {"alias": "mansion_plain", "bits_per_byte,none": 1.5, "bits_per_byte_stderr,none": "N/A"},
        "theirs": {"exact_match,letter": 0.25, "exact_match_stderr,letter": 0.1},
    },
    "higher_is_better": {"mansion_wording": {"acc": True}, "mansion_plain": {"bits_per_byte": False}},
    "n-samples": {"mansion_wording": {"original": 89, "effective": 20}},
}


class StandIn:
    """The program in `folder`, which has to be on PATH."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self._asked, self._told = folder, folder / "asked", folder / "told"
        self.tell(RESULTS)
        program = folder / "lm-eval"
        text = _PROGRAM.format(python=sys.executable, asked=str(self._asked), told=str(self._told))
        program.write_text(text, "utf-8")
        program.chmod(0o755)

    def tell(self, told: object) -> None:
        """From now on it finds this; a text is an error that it ends with."""
        self._told.write_text(json.dumps(told), "utf-8")

    @property
    def asked(self) -> list[tuple[list[str], list[str]]]:
        """Each call's arguments, and the questions that lay where it was called."""
        return [tuple(json.loads(line)) for line in self._asked.read_text("utf-8").splitlines()]
