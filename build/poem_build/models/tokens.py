"""Token ids of a prompt and its answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of an example: the prompt up to where the answer begins, and the answer with its end."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)
