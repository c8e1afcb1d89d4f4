"""A model and hands that no report is about → several answers a hand, each on disk before the next is asked for.

A model that writes in two stages is asked for a hand's outline once, and for all of its poems by that.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random

from poem.game import Game
from poem.hand import Answer, draw_candidates
from poem.outline import Outline, decode_outline
from poem.pattern import pattern_key
from poem.shape import decode, encode
from poem_build.data.examples import Example
from poem_build.data.hands import hands
from poem_build.engine.protocol import Reply
from poem_build.errors import WriterError
from poem_build.evaluation import names, writers
from poem_build.evaluation.hands import Trial
from poem_build.evaluation.names import WriterName
from poem_build.evaluation.writers import EngineWriter, Place, Writer
from poem_build.judge.delivery import TRIES
from poem_build.judge.protocol import MALFORMED
from poem_build.judge.rules import Rules, by_outline, question
from poem_build.progress import progress
from poem_build.store.digest import digest_of, sha256
from poem_build.store.stage import Job
from poem_build.teacher.journal import About, Journal
from poem_build.teacher.protocol import Said, Usage

_IN = {1: "one stage", 2: "two stages"}


@dataclass(frozen=True)
class Rival:
    """One of the answers to a hand."""

    text: str
    """An answer as a model is to give it, whatever blanks its JSON came with; as it came where it is none."""
    answer: Answer | None
    broken: tuple[str, ...]
    """The rules that it breaks."""


@dataclass(frozen=True)
class Round:
    """A hand, and what was answered to it."""

    example: Example
    """Its answer is nobody's. Of two stages it has the outline, by which all rivals were asked for."""
    rivals: tuple[Rival, ...]
    """Each text once."""
    asked: int
    """0 where a model of two stages gave no outline to ask by."""
    unfinished: int
    """Answers that never ended: where they stop is not the model's word, so nothing is learnt from them."""

    @property
    def keepers(self) -> list[Rival]:
        """Those that keep all rules."""
        return [one for one in self.rivals if not one.broken]

    @property
    def breakers(self) -> list[Rival]:
        """Those that do not."""
        return [one for one in self.rivals if one.broken]


def examples(game: Game) -> Iterator[Example]:
    """Training hands, none twice and none that has a poem by hand which is held out; a small deck has not many."""
    held_out = {pattern_key(poem.hand) for poem in game.poems if poem.held_out}
    rng, seen = Random("preferences"), set[str]()
    for hand in hands(game.deck, "train", rng):
        key = pattern_key(hand)
        if key in seen:
            return
        seen.add(key)
        if key not in held_out:
            candidates = draw_candidates(game.deck, rng)
            yield Example(hand, candidates, Answer(candidates[0], ""))


def about(name: WriterName, job: Job, place: Place) -> About:
    """Whose answers they are: a model that was trained on, or is asked otherwise, has to answer anew.

    Raises `WriterError` for a file or a model that is not there, or one that writes in other stages than the recipe's.
    """
    files = names.files((name,))
    if lost := [path for path in files.values() if not path.is_file()]:
        raise WriterError(f"--writer {name}: {lost[0]}: no such file; give the path of a GGUF")
    outside = writers.identity((name,), place)
    if name.kind == "ollama" and outside[str(name)] is None:
        raise WriterError(f"--writer {name}: OLLAMA_HOST {place.ollama} has no such model; `ollama pull {name.place}`")
    stages, asked = writers.stages(name, job, place), job.recipe.dataset.stages
    if name.kind == "openai" and asked == 2:
        raise WriterError(
            f"--writer {name}: a server of that shape cannot say whether its model writes in two stages, as recipe "
            f"{job.recipe.name} does; give embedded:FILE or ollama:NAME"
        )
    if stages != asked:
        raise WriterError(
            f"--writer {name}: writes in {_IN[stages]}, recipe {job.recipe.name} in {_IN[asked]} (dataset.stages), so "
            "it would learn from what it is never asked; give the recipe of that model, or another model"
        )
    made_of = {role: artifact.digest() for role, artifact in job.inputs.items()}
    made_of |= {role: sha256(path) for role, path in files.items()}
    digest = digest_of([made_of, outside, job.recipe.serve.model_dump(mode="json")])[:16]
    return About(job.game.deck.digest, job.game.prompt_in(stages), str(name), digest)


def play(writer: Writer, game: Game, of: About, wanted: int, each: int, room: Path) -> list[Round]:
    """So many hands, each asked for so often, with other seeds; what was answered before is taken over.

    Raises what the writer and the journal refuse; what was answered until then is kept.
    """
    path = room / f"answers-{digest_of(of.as_json())[:12]}.jsonl"
    with closing(Journal.open(path, of)) as journal:
        found = []
        for example in progress(list(islice(examples(game), wanted)), f"{of.teacher} writes"):
            if isinstance(writer, EngineWriter) and writer.stages == 2:
                outline = _outline(writer, example, journal, of.teacher)
                if outline is None:
                    found.append(Round(example, (), 0, 0))
                    continue
                example = by_outline(replace(example, stages=2), outline)
            key = pattern_key(example.hand)
            said = journal.story(key).answers
            while len(said) < each:
                reply = writer.write(Trial(example), _seed(key) + len(said))
                assert reply is not None  # a model has something to say of any hand
                _keep(journal, key, reply, of.teacher)
            found.append(_round(example, [one.text for one in said[:each] if one.ended == "stop"], each))
        return found


def _outline(writer: EngineWriter, example: Example, journal: Journal, whose: str) -> Outline | None:
    """The first that is one, and has a title of the hand's; None if none is in as many tries as the service has."""
    key, first = pattern_key(example.hand), replace(example, stages=2)
    said = journal.story(f"{key} outline").answers
    for place in range(TRIES):
        if place == len(said):
            asked = question(writer.game, first, _seed(key) + place, constrained=writer.constrained)
            _keep(journal, f"{key} outline", writer.engine.ask(asked), whose)
        if said[place].ended != "stop":
            continue
        try:
            outline = decode_outline(said[place].text)
        except ValueError:
            continue
        if outline.title in example.candidates:
            return outline
    return None


def _seed(key: str) -> int:
    return int(key[:7], 16)


def _keep(journal: Journal, key: str, reply: Reply, whose: str) -> None:
    usage = Usage(prompt=reply.prompt_tokens, output=reply.tokens)
    said = Said(reply.text, usage, "length" if reply.whole is None else "stop")
    journal.answered(key, said, 0.0, "", whose)


def _round(example: Example, texts: list[str], asked: int) -> Round:
    rivals = {one.text: one for one in (_rival(example, text) for text in texts)}
    return Round(example, tuple(rivals.values()), asked, asked - len(texts))


def _rival(example: Example, text: str) -> Rival:
    broken = tuple(Rules().judge(example, Reply(text, "stop"), "").broken)
    answer = None if MALFORMED in broken else decode(text)
    return Rival(encode(answer) if answer else text, answer, broken)
