"""A report's figures, rules, writers and gates → their names in Japanese; what is unknown stays as it is."""

import re
from pathlib import Path

from poem_build.evaluation.gates import LINES
from poem_build.evaluation.names import WriterName
from poem_build.evaluation.outcome import Reason
from poem_build.evaluation.report import MODEL, Figure, Unit

WRITERS = {
    "model": "この書き手",
    "base": "元のモデル",
    "adapter": "アダプター",
    "merged": "学習したモデル",
    "f16": "量子化の前(f16)",
    "composer": "composer",
    "table": "控えの表",
    "embedded": "GGUF",
    "ollama": "Ollama",
    "openai": "サーバー",
    "hand": "人の手",
    "teacher": "教師",
}
FIGURES = {
    "pass.delivered": "三度のうちに詩が届く手札",
    "pass.first": "一度目で規則をすべて守る手札",
    "pass.length": "字数が合う答え",
    "pass.title": "題が候補にある答え",
    "sentences.whole": "崩れていない文",
    "conceal.term": "現実の語を漏らさない詩",
    "conceal.lemma": "現実の語を、活用形でも漏らさない詩",
    "conceal.words": "五つの現実のうち、語だけで当てられる割合",
    "conceal.judge": "五つの現実のうち、審査員に当てられる割合",
    "values.spoken": "詩に語られた言い換えの価値",
    "values.above": "よその手札の価値を上回る分",
    "title.fit": "題と詩の響き合い",
    "cards.above": "手札を見ている度合い",
    "points.counted": "数えられる点",
    "points.judge": "審査員の点",
    "points.above_composer": "composerとの点差",
    "duel.composer": "composerに勝つ手札",
    "distinct.2": "二字の並びの多様さ",
    "distinct.4": "四字の並びの多様さ",
    "sentences.shared": "よその詩にもある文",
    "self_bleu": "詩どうしの似かた(BLEU)",
    "rouge_l": "人の詩との近さ(ROUGE-L)",
    "perplexity.by_hand": "人の詩の当惑度",
    "perplexity.plain": "ふつうの文の当惑度",
    "forgetting": "ふつうの日本語の忘れかた",
    "speed.answer": "一篇を書き終えるまで",
    "speed.first": "最初の一語まで",
    "speed.tokens": "書く速さ",
}
SHORT = {
    "pass.delivered": "詩が届く",
    "pass.first": "一度目で合格",
    "pass.length": "字数が合う",
    "pass.title": "題が合う",
    "sentences.whole": "崩れていない文",
    "conceal.term": "語を漏らさない",
    "conceal.lemma": "活用形も漏らさない",
    "conceal.words": "語で当てられる",
    "conceal.judge": "審査員が当てる",
    "values.spoken": "価値を語る",
    "points.counted": "数えられる点",
    "duel.composer": "composerに勝つ",
    "distinct.2": "二字の多様さ",
    "distinct.4": "四字の多様さ",
    "sentences.shared": "よそにもある文",
}
GROUPS = (
    ("できあがり", ("pass.", "sentences.whole")),
    ("隠す", ("conceal.",)),
    ("語る", ("values.", "title.", "cards.")),
    ("審査", ("points.", "duel.")),
    ("多様さ", ("distinct.", "sentences.shared", "self_bleu")),
    ("ことば", ("rouge_l", "perplexity.", "forgetting")),
    ("速さ", ("speed.",)),
)
"""Figures stand together whose names begin so."""
RULES = {
    "malformed": "答えの形",
    "paragraphs": "段落の数",
    "length": "字数",
    "ending": "段落の終わり",
    "sentence": "一文の長さ",
    "repeated": "同じ文のくり返し",
    "characters": "使えない字",
    "polite": "です・ます",
    "conjecture": "推量",
    "address": "呼びかけ",
    "superlative": "最上級",
    "denial": "打ち消し",
    "definitions": "「である。」の連なり",
    "title": "題",
    "giveaway": "現実の語",
    "copied": "言い換えの丸写し",
}
REMEDIES = {
    "eval_pass": "学習を長くするか、例をふやす",
    "deliver_pass": "学習を長くするか、例をふやす",
    "base_pass_at_most": "元のモデルのままでよい",
    "cards_above": "モデルが手札を見ていない。学習を長くする",
    "whole_sentences": "答えを読み、長い例をふやすか、学習を長くする",
    "conceal_lemma": "現実を語らない詩で教えなおす",
    "named_at_most": "現実を語らない詩で教えなおす",
    "values_above": "手札の価値を語る詩で教えなおす",
    "shared_at_most": "例をふやすか、学習の周回を減らす",
    "self_bleu_at_most": "例をふやすか、学習の周回を減らす",
    "answer_s_at_most": "量子化を強めるか、小さなモデルを使う",
    "forgets_at_most": "学習を短くするか、学習率かrを下げる",
    "points_at_least": "よい例で教えなおすか、大きなモデルを使う",
    "beats_composer": "このモデルは出さず、composerに書かせる",
    "regression": "前のビルドに戻し、変えたところを見なおす",
    "below-composer": "POEM_WRITER=autoなら、サービスはcomposerに書かせる",
    "judge": "ほかの審査員に頼む(--judge)",
}
BETTER = {"higher": "高い", "lower": "低い", "": ""}
_FILES = ("table", "embedded")
"""Writers that are named by a file."""
_SHOWN = 3
"""Parts of its path that are shown."""
_SENSES = {"at least": "{}以上", "at most": "{}以下", "above": "{}より上", None: "{}"}
_ABOUT = {"below-composer": "composerのほうがよく書く(区間の外)", "judge": "審査員に難がある"}
_SEEN = {"below-composer": "劣る"}
_ASKED = {"below-composer": "劣らないこと", "judge": "教師とは別の審査員"}
"""By the gate, where no number is asked for."""


def writer(name: str) -> str:
    """Who writes; of a file, its name and some of its folders', since all models of ours have one name."""
    who = WriterName.of(name)
    parts = Path(who.place).parts if who.kind in _FILES else ()
    place = who.place if len(parts) <= _SHOWN else "/".join(("…", *parts[-_SHOWN:]))
    told = " ".join(filter(None, (WRITERS.get(who.kind, who.kind), place)))
    return f"{told}(型なし)" if who.free else told


def figure(one: Figure) -> str:
    """What the figure is of."""
    return FIGURES.get(one.name, one.what)


def short(one: Figure) -> str:
    """The same beside a picture, where there is little room."""
    return SHORT.get(one.name, figure(one))


def aspect(name: str) -> str:
    """What a judge looked at."""
    return {"overall": "全体", "unity": "まとまり", "voice": "声"}.get(name, name)


def judge(name: str) -> str:
    """Who judged."""
    return {"counted": "数えた点", "people": "読み手", "rules": "規則"}.get(name, name)


def rule(name: str) -> str:
    """What a rule asks."""
    return RULES.get(name, name)


def value(number: float, unit: Unit) -> str:
    """A number as people read it, with its unit."""
    match unit:
        case "share":
            return f"{number:.1%}"
        case "seconds":
            return f"{number:.2f}秒"
        case "tokens/s":
            return f"{number:,.1f}トークン/秒"
        case "points":
            return f"{number:.1f}点"
        case "nats":
            return f"{number:+.3f}nat"
        case "characters":
            return f"{number:.0f}字"
        case _:
            return f"{number:,.3g}" if abs(number) < 100 else f"{number:,.0f}"


def strength(score: float) -> str:
    """A Bradley–Terry score."""
    return f"{score:+.2f}".replace("-", "−")


def interval(one: Figure) -> str:
    """Its interval, the unit said once."""
    low, high = value(one.low, one.unit), value(one.high, one.unit)
    mark = re.sub(r"^[-+.,\d]+", "", high)
    return f"{low.removesuffix(mark)}〜{high}"


def reason(one: Reason, seen: Figure | None) -> tuple[str, str, str, str]:
    """What it is about, what was seen, what was asked for, and the remedy."""
    about = FIGURES.get(seen.name, seen.what) if seen else _ABOUT.get(one.gate, one.what)
    if seen and seen.writer != MODEL:
        about = f"{about}({writer(seen.writer)})"
    told = _SEEN.get(one.gate, one.seen) if one.measured else "未測定"
    found = f"{value(seen.value, seen.unit)}({interval(seen)})" if seen else told
    more = "手札をふやして、もう一度評価する"
    remedy = more if one.holds and not one.sure else REMEDIES.get(one.gate, one.remedy)
    return about, found, asked(one), remedy


def asked(one: Reason) -> str:
    """What a gate asks for."""
    if one.bound is None:
        return _ASKED.get(one.gate, one.asked)
    line = LINES.get(one.gate)
    return _SENSES[one.sense].format(f"{one.bound:{line.shown if line else '.0%'}}")
