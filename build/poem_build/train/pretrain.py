"""Plain text of ours → a small pretrained base: a tokenizer and a Qwen2-shaped model that speak like our poems.

The text is composed poems under their titles, sentences and poems after the wordings they came from, and the word
list of the deck. It holds no prompt, no JSON and none of the held-out hands, so whatever the adapter is later seen to
do about prompts and answers it has learnt itself.
"""

import math
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from poem.composer import compose
from poem.deck import builtin_deck
from poem.hand import PAIRS, Pair, draw_candidates
from poem.prompt import pair_line, system_text
from poem.words import all_sentences, words
from poem_build.data.dataset import hands
from poem_build.errors import RecipeError
from poem_build.models.load import load_model
from poem_build.progress import progress
from poem_build.recipe.schema import Phase, Pretrain, Recipe
from poem_build.store import artifact
from poem_build.store.artifact import Artifact
from poem_build.train.batches import Tokens, answer_losses, batches

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The split of Qwen2's tokenizer, which llama.cpp calls "qwen2".
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_END_OF_TEXT = "<|endoftext|>"
_MARKERS = ("<|im_start|>", "<|im_end|>")  # of ChatML, the family of every base made here
# How many catch-copies stand between wordings and poem: from none to speak of to as far as the prompt has them.
_TITLES = (1, 5, 20)


class Text(NamedTuple):
    """Plain text of which only the second part is learnt: to say it, after what was shown."""

    shown: str
    said: str


def run(recipe: Recipe, out: Path) -> Artifact:
    """Train tokenizer and weights, phase by phase, and put the last one's folder where the recipe names its base.

    Each phase is an artifact of its own, which the next starts from: what is there is not trained again.
    """
    if recipe.pretrain is None:
        raise RecipeError(
            f"recipe {recipe.name}: base.path: is a folder that no [pretrain] says how to make; it is used as it is"
        )
    made = None
    for n, phase in enumerate(recipe.pretrain.phases, 1):
        made = _phase(recipe.pretrain, phase, out, f"base-{n}", made)
    assert made is not None  # the recipe has at least one phase
    _install(made.path, recipe.base.path)
    return made


def _phase(spec: Pretrain, phase: Phase, out: Path, name: str, before: Artifact | None) -> Artifact:
    def work(folder: Path) -> dict[str, Any]:
        import torch
        from transformers import PreTrainedTokenizerFast

        torch.manual_seed(spec.seed)
        tokenizer = train_tokenizer(spec.vocab_size)
        model = load_model(before.path, "float32") if before else _untrained(spec, tokenizer)
        figures = _learn(model, [_tokens(tokenizer, text) for text in corpus(phase, spec.seed)], phase, spec.seed)
        model.to(torch.bfloat16).save_pretrained(folder)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token=_END_OF_TEXT, model_max_length=spec.context
        ).save_pretrained(folder)
        return figures | {"parameters": sum(p.numel() for p in model.parameters())}

    settings = spec.model_dump(exclude={"phases"}) | {"phase": phase.model_dump()}
    inputs = {"game": artifact.game_digest()} | ({"before": before.digest} if before else {})
    return artifact.make(out, name, work, settings=settings, inputs=inputs)


def _untrained(spec: Pretrain, tokenizer: "Tokenizer") -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        max_position_embeddings=spec.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        pad_token_id=tokenizer.token_to_id(_END_OF_TEXT),
    )
    return Qwen2ForCausalLM(config)


def _install(made: Path, target: Path) -> None:
    """Put the base where the recipe names it; artifact.json goes along and says how it was made."""
    if made.resolve() == target.resolve():
        return
    beside = target.with_name(f".{target.name}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        shutil.copytree(made, beside)
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def corpus(phase: Phase, seed: int) -> Iterator[Text]:
    """The phase's plain texts, endless variations of three kinds; hands are training hands only.

    `poems`: the deck's word list, then poems under their titles, nothing shown. `wordings`: one or two wordings,
    then a sentence for each. `lists`: up to five wordings and some catch-copies, then as many sentences in any
    order, or all five, then a title out of those and the poem. What is shown is not learnt: it is drawn at random,
    and its noise would hide the little that it tells about what follows (docs/log.md).
    """
    rng = Random(f"corpus {seed}")
    texts = {"poems": _poems, "wordings": _wordings, "lists": _lists}[phase.text](rng)
    return islice(texts, phase.documents)


def _poems(rng: Random) -> Iterator[Text]:
    deck = builtin_deck()
    for card in deck.cards:
        for wording in card.poems:
            said = "".join(s.text for s in words().fragments[wording.id])
            yield Text("", f"{card.category}。{card.condition_text}。{wording.poem_text}。{said}")
    for hand in hands(deck, "train", rng):
        answer = compose(hand, draw_candidates(deck, rng), rng.getrandbits(32)).answer
        yield Text("", f"{answer.title}\n{answer.poem}")


def _wordings(rng: Random) -> Iterator[Text]:
    for hand in hands(builtin_deck(), "train", rng):
        pairs = rng.sample(hand.pairs, rng.randint(1, 2))
        yield Text(_listed(pairs), _sentences(pairs, rng))


def _lists(rng: Random) -> Iterator[Text]:
    deck = builtin_deck()
    for hand in hands(deck, "train", rng):
        titles = rng.sample(deck.catchphrases, rng.choice(_TITLES))
        poem = rng.random() < 0.5
        pairs = rng.sample(hand.pairs, PAIRS if poem else rng.randint(1, PAIRS))
        shown = _listed(pairs) + "".join(f"{title}\n" for title in titles)
        if poem:
            answer = compose(hand, titles, rng.getrandbits(32)).answer
            yield Text(shown, f"{answer.title}\n{answer.poem}")
        else:
            yield Text(shown, _sentences(pairs, rng))


def _listed(pairs: Sequence[Pair]) -> str:
    return "".join(f"{pair.card.condition_text}、{pair.wording.poem_text}。\n" for pair in pairs)


def _sentences(pairs: Sequence[Pair], rng: Random) -> str:
    """A sentence for each wording, in any order."""
    told = [rng.choice(words().fragments[pair.wording.id]).text for pair in pairs]
    return "".join(rng.sample(told, len(told)))


def train_tokenizer(vocab_size: int) -> "Tokenizer":
    """A byte-level BPE with Qwen2's split, with room for the chat template's special tokens.

    It learns from every sentence once, not from the poems, where the same sentences come by the hundred and
    would each become a token while rare kanji stayed three. No token is longer than 30 bytes: llama.cpp's
    simple detokenizer drops those over 32.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[_END_OF_TEXT, *_MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=30,
        show_progress=False,
    )
    deck = builtin_deck()
    texts = [system_text(), *deck.catchphrases, *(s.text for s in all_sentences())]
    texts += [pair_line(Pair(card, wording)) for card in deck.cards for wording in card.poems]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _tokens(tokenizer: "Tokenizer", text: Text) -> Tokens:
    shown, said = (tokenizer.encode(part).ids for part in text)
    (end,) = tokenizer.encode(_END_OF_TEXT).ids
    return Tokens((end, *shown), (*said, end))


def _learn(model: Any, texts: Sequence[Tokens], phase: Phase, seed: int) -> dict[str, Any]:
    """Train in place, each text once; the figures' loss, in nats a token said, is that of the last twentieth."""
    import torch

    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=phase.learning_rate, betas=(0.9, 0.95))
    steps = math.ceil(len(texts) / phase.batch)
    # Warm-up over 2 % of the steps, then a cosine down to a tenth.
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda n: min((n + 1) / max(1, steps // 50), 0.55 + 0.45 * math.cos(math.pi * n / steps)),
    )
    losses: list[float] = []
    model.train()
    for batch in progress(list(batches(texts, phase.batch, str(seed))), f"pretraining on {phase.text}"):
        found, said = answer_losses(model, batch)
        loss = found.sum() / said.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    tail = losses[-max(1, steps // 20) :]
    return {"tokens": sum(map(len, texts)), "steps": steps, "loss": round(sum(tail) / len(tail), 4)}
