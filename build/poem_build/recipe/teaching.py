"""The `[teacher]` table of a recipe → who writes the poems that a model learns from, and for which hands."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from poem_build.recipe.section import Count, Fraction, Positive, Section, Whole

TeacherName = Literal["gemini", "openai", "anthropic", "ollama", "composer"]


class Quotas(Section):
    """Which hands are worth teaching, in shares; what a deck cannot give is met as nearly as it can."""

    group: Fraction = 0.2
    """Of all cards, for each of the five groups that a game's categories are mapped to."""
    mild: Fraction = 0.3
    """Of the cards that are drawbacks: strength -1 and -2."""
    middling: Fraction = 0.4
    """Strength -3."""
    severe: Fraction = 0.3
    """Strength -4 and worse."""
    concentrated: Fraction = 0.1
    """Of the hands: three cards or more of one group."""
    balanced: Fraction = 0.6
    extreme: Fraction = 0.3
    """Of the hands: two cards or more of strength -4 and worse, or none that is a drawback."""
    least: Count = 1
    """How often each card, wording and catch-copy comes at the least."""

    @model_validator(mode="after")
    def _shares_are_whole(self) -> "Quotas":
        for names in (("mild", "middling", "severe"), ("concentrated", "balanced", "extreme")):
            total = sum(getattr(self, name) for name in names)
            if abs(total - 1) > 1e-6:
                first, second = (round(getattr(self, name) / total if total else 1 / 3, 2) for name in names[:2])
                shares = zip(names, (first, second, max(0.0, 1 - first - second)), strict=True)
                nearest = ", ".join(f"{name} = {share:.2f}" for name, share in shares)
                raise ValueError(f"{' + '.join(names)} must be 1, got {total:.2f}; the nearest that do are {nearest}")
        most = 1 - 0.8 * self.balanced
        if self.severe > most + 1e-6:
            raise ValueError(
                f"severe: one of the five cards of a balanced hand may be, so with balanced = {self.balanced:.2f} it "
                f"can be {most:.2f} at the most, got {self.severe:.2f}; lower one of the two"
            )
        if abs(self.group - 0.2) > 1e-6:
            raise ValueError(f"group: five groups have a fifth of the cards each, got {self.group}; 0.2 can be met")
        return self


class Teaching(Section):
    """Who is asked, how, how often and how fast."""

    name: TeacherName = "composer"
    model: str = "gemini-2.5-flash"
    temperature: float = Field(default=0.9, ge=0, le=2)
    max_tokens: Positive = 1024
    """Of an answer: a poem takes about 250."""
    tries: Positive = 3
    """Times that a hand is asked for, each with the verdict on the one before, until it is put aside."""
    per_minute: Positive = 60
    at_once: Annotated[Positive, Field(le=256)] = 8
    timeout_s: float = Field(default=120, gt=0)
    cache_ttl_s: Count = 0
    """How long Gemini keeps the fixed prompt for us, renewed before it ends; 0: it is sent each time."""
    seed: Whole = 0
    quotas: Quotas = Quotas()

    def kept_s(self, *, batch: bool) -> int:
        """How long the teacher is asked to keep a fixed prompt, in seconds; 0 if it is sent each time."""
        return self.cache_ttl_s if self.name == "gemini" and not batch else 0
