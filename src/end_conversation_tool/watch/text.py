"""The offline text detector: phrases and small linear models, in one pass over a message.

For each kind the models give a calibrated score; the phrases found are a part of it. The answer is *yes* from one
threshold on, *don't know* from a lower one on. Beyond that:

1. A sure phrase about self-harm is a *yes*, and one about violence never less than *don't know*, whatever the score.
2. In languages of which the models saw little, a sure phrase is a *yes*.
3. A warning, the question whether to end, the request to end and the confirmation are found by phrases alone.
4. What was too long to be read is doubt about risk.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool.watch.base import Answer, Signal, SignalKind
from end_conversation_tool.watch.model import WEIGHTS_FILE, LinearModels, RoleModels, load_models
from end_conversation_tool.watch.ngrams import units
from end_conversation_tool.watch.normalise import as_meant, compact, has_cjk, own_voice, plain, tokens
from end_conversation_tool.watch.phrases import PhraseHits, load_phrases

__all__ = ["MAX_CHARS", "MAX_RISK_CHARS", "Reading", "TextDetector", "read_assistant", "read_user"]

MAX_RISK_CHARS = 200_000
"""Longest text, in characters, in which phrases about risk are looked for everywhere; of a longer one the middle is
not read."""

MAX_CHARS = 8_000
"""Longest text, in characters, that is read for everything else; of a longer one the middle is not read."""

MAX_YES_CHARS = 300
"""Longest message, in characters, that can be a mere yes."""

WINDOW_TOKENS = 200
"""Tokens that the models judge at once; of a longer text, the window with the highest score counts."""

HEAD_CHARS = 200
"""Characters at the beginning of a reply in which phrases count once more."""

SHORT_REPLY_CHARS = 250
"""Longest reply, in characters, in which only a phrase can be a refusal: of a few words, models make too much."""

_RISK = ("self_harm", "violence")
_RISKS = frozenset(_RISK)
_USER = frozenset({*_RISK, "abuse", "asks_to_end"})
_REPLY = frozenset({"refusal", "redirection", "warning", "end_question"})
_FIRST_PERSON = frozenset({
    "i", "im", "ive", "id", "ill", "me", "my", "myself", "je", "jai", "moi", "mon", "ich", "mich", "mir", "yo", "mi",
    "eu", "io",
})  # fmt: skip
_ENGLISH = frozenset({
    "the", "to", "of", "and", "a", "is", "i", "you", "that", "in", "it", "for", "this", "be", "not", "are", "with",
    "can", "my",
})  # fmt: skip
_ENGLISH_SHARE = 0.12
_SHORT, _LONG = 60, 2_000
_FEW_WORDS = 6
_SELF_DESCRIPTION = re.compile(r"\bas an ai\b")
_NOTHING_SAID = (0.0,) * 13
"""Dense features of a reply without any phrase, the general ones apart."""

_COUNTED = [(f"{kind} sure", f"{kind} weak") for kind in (*_RISK, "abuse")]
_PLACED = ("refusal sure", "refusal weak", "redirection sure")
"""Sections that the dense features count, and those of which they count the places."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as the models see it.

    Attributes:
        words: Its tokens.
        line: The same as one line, with a space before, between and after them.
        hits: The phrases found.
        cjk: Whether it holds Chinese characters.
        dense: The dense features.
    """

    words: list[str]
    line: str
    hits: PhraseHits
    cjk: bool
    dense: list[float]

    @property
    def units(self) -> list[str]:
        """The tokens, Chinese ones split into pairs of characters."""
        return units(self.words) if self.cjk else self.words

    def windows(self) -> list[list[str]]:
        """Return the units in windows of at most :data:`WINDOW_TOKENS`, at least one."""
        whole = self.units
        if len(whole) <= WINDOW_TOKENS:
            return [whole]
        return [whole[start : start + WINDOW_TOKENS] for start in range(0, len(whole), WINDOW_TOKENS)]


def read_user(text: str, kinds: frozenset[str] = _USER) -> Reading:
    """Read a user's text: phrases and dense features."""
    prepared = plain(text)
    words, cjk = tokens(prepared), has_cjk(prepared)
    line, seen = f" {' '.join(words)} ", set(words)
    first_person = not _FIRST_PERSON.isdisjoint(seen)
    hits = load_phrases().search_line(line, seen, kinds)
    if "2" in line or "4" in line:
        meant = as_meant(line)
        if meant != line:
            load_phrases().search_more(meant, line, _RISKS, hits)
    if cjk:
        load_phrases().search_cjk(compact(prepared), kinds, hits)
    dense = list[float]()
    for sure, weak in _COUNTED:
        found = hits.sections.get(sure, 0)
        dense += (min(found, 3.0), 2.0 if found else 0.0, min(hits.sections.get(weak, 0), 6) / 2)
    dense += [float(cjk), math.log1p(min(len(prepared), _SHORT)) / 2, float(first_person)]
    return Reading(words, line, hits, cjk, dense)


def read_assistant(text: str) -> Reading:
    """Read a reply: phrases, and how many of them there are in all of it, near its beginning, in its first sentence."""
    words = tokens(plain(text))
    line = f" {' '.join(words)} "
    hits = load_phrases().search_line(line, set(words), _REPLY)
    dense = [math.log1p(min(len(text), _LONG)) / 2, *_NOTHING_SAID]
    if "language model" in line or ("as an ai" in line and _SELF_DESCRIPTION.search(line)):
        # Replies that begin "As an AI language model" comply as often as not: there, phrases of refusal say nothing.
        dense[-1] = 1.0
    elif any(places := [hits.places.get(section, ()) for section in _PLACED]):
        del dense[1:]
        for end in (MAX_CHARS * 4, HEAD_CHARS, _first_sentence(line)):
            sure, weak, redirected = (sum([place < end for place in found]) for found in places)
            dense += (min(sure, 4) / 2, float(sure > 0), min(weak, 4) / 2, min(redirected, 3) / 2)
        dense.append(0.0)
    return Reading(words, line, hits, cjk=False, dense=dense)


def _first_sentence(line: str) -> int:
    """Return the length of the first sentence of a line of tokens, in characters."""
    ends = [end for end in (line.find(" . "), line.find(" ! "), line.find(" ? ")) if end >= 0]
    return min(ends) + 2 if ends else len(line) - 1


class TextDetector:
    """Looks for all nine kinds of signal in the words of a message; offline, without any state.

    Args:
        models: Other weights than those shipped, to evaluate them.

    Attributes:
        name: ``text``.
        version: Digest of the phrases and the weights.
        kinds: Every kind.
    """

    name = "text"
    kinds = frozenset(SignalKind)

    def __init__(self, models: LinearModels | None = None) -> None:
        self._models = models
        self.version = models.version if models else _shipped_version()

    def detect(self, message: ObservedMessage) -> Iterable[Signal]:
        """Return five signals about a user's message, or four about an assistant's."""
        models = self._models or load_models()
        if message.role == "user":
            judged, faint = _judge_user(message.text, models.user)
        else:
            judged, faint = _judge_assistant(message.text, models.assistant), frozenset()
        source = f"{self.name}/{self.version}"
        return [
            _unscored(kind, answer, source)
            if score is None
            else Signal(kind, answer, source, score, faint=kind in faint)
            for kind, (answer, score) in judged.items()
        ]


@lru_cache
def _unscored(kind: SignalKind, answer: Answer, source: str) -> Signal:
    """Return a signal without a score: there are few, and they cannot be changed."""
    return Signal(kind, answer, source)


_Judged = dict[SignalKind, tuple[Answer, float | None]]


def _judge_user(text: str, models: RoleModels) -> tuple[_Judged, frozenset[SignalKind]]:
    """Return the answers, and the kinds of risk of which the *no* is not a clear one."""
    whole, unread = _bounded(text, MAX_RISK_CHARS)
    short, cut = _bounded(text, MAX_CHARS)
    own_text = own_voice(short)
    reading = read_user(short)
    own = reading if own_text == short else read_user(own_text)
    scores = _scores(models, reading)
    own_scores = scores if own is reading else _scores(models, own)
    found = read_user(whole, _RISKS).hits if cut else reading.hits
    answers = {kind: _risk_answer(models, reading, scores, kind, found) for kind in _RISK}
    faint = frozenset(SignalKind(kind) for kind in _RISK if _is_faint(models, scores, kind, cjk=reading.cjk))
    confirms = _confirms(own_text, own.line)
    if confirms is Answer.YES:
        faint = frozenset()
        # "Yes, end it" is about the conversation: without a sure phrase, the models have nothing else to go by.
        answers = {kind: answer if found.count(kind) else Answer.NO for kind, answer in answers.items()}
    if cut:
        # What the models did not read is judged by phrases alone: there, a sure one is a yes.
        answers |= {kind: Answer.YES for kind in _RISK if found.count(kind)}
    if own is not reading and answers["violence"] is Answer.YES:
        # Threats that somebody only quotes are doubt; words about self-harm count whoever said them.
        answers["violence"] = _at_least_doubt(_risk_answer(models, own, own_scores, "violence", own.hits))
    judged: _Judged = {
        SignalKind(kind): (_at_least_doubt(answer) if unread else answer, _risk_score(models, scores, kind))
        for kind, answer in answers.items()
    }
    judged[SignalKind.ABUSE] = (_abuse_answer(models, own, own_scores), own_scores["abuse"])
    judged[SignalKind.ASKS_TO_END] = (_by_phrase(own.hits, "asks_to_end"), None)
    judged[SignalKind.CONFIRMS_END] = (confirms, None)
    return judged, frozenset(kind for kind in faint if judged[kind][0] is Answer.NO)


def _risk_score(models: RoleModels, scores: dict[str, float], kind: str) -> float:
    return max([scores[name] for name, _ in models.about[kind]])


def _risk_answer(
    models: RoleModels, reading: Reading, scores: dict[str, float], kind: str, found: PhraseHits
) -> Answer:
    """Answer about one kind of risk: the surest of its models, and of the phrases found."""
    sure = found.count(kind)
    if sure and (kind == "self_harm" or found.foreign(kind)):
        return Answer.YES
    doubt = sure > 0
    for name, limits in models.about[kind]:
        _, doubtful, yes = limits[reading.cjk]
        if scores[name] >= yes:
            return Answer.YES
        doubt = doubt or scores[name] >= doubtful
    return Answer.UNKNOWN if doubt else Answer.NO


def _is_faint(models: RoleModels, scores: dict[str, float], kind: str, *, cjk: bool) -> bool:
    return any(scores[name] >= limits[cjk][0] for name, limits in models.about[kind])


def _abuse_answer(models: RoleModels, own: Reading, scores: dict[str, float]) -> Answer:
    """Answer about abuse; outside English, of which alone there are labelled insults of an assistant, by phrases."""
    if own.hits.foreign("abuse"):
        return Answer.YES
    answer = _scored(models, scores, "abuse", cjk=own.cjk)
    if answer is Answer.NO:
        return answer
    may_be_english = own.line.isascii() and (len(own.words) < _FEW_WORDS or _is_english(own.words))
    return answer if may_be_english else Answer.UNKNOWN


_NOTHING_OF_A_REPLY: _Judged = dict.fromkeys(
    (SignalKind.REFUSAL, SignalKind.REDIRECTION, SignalKind.WARNING, SignalKind.END_QUESTION), (Answer.NO, None)
)


def _judge_assistant(text: str, models: RoleModels) -> _Judged:
    short, _ = _bounded(text, MAX_CHARS)
    reading = read_assistant(short)
    if not reading.hits.sections:
        # Without any phrase, the models say yes to no reply of the labelled sets: no refusal is worth their time.
        return dict(_NOTHING_OF_A_REPLY)
    # The whole reply at once, as in training: what a refusal is, is said in relation to the rest.
    scores = dict(zip(models.kinds, models.scores(reading.words, reading.dense).tolist(), strict=True))
    english = _is_english(reading.words)
    judged: _Judged = {}
    for kind in ("refusal", "redirection"):
        answer, score = _scored(models, scores, kind, cjk=False), scores[kind]
        if not english:
            answer = _by_phrase(reading.hits, kind)
        elif len(short) <= SHORT_REPLY_CHARS:
            answer = _surer_by_phrase(_by_phrase(reading.hits, kind), answer)
        judged[SignalKind(kind)] = (answer, score if english else None)
    for kind in ("warning", "end_question"):
        judged[SignalKind(kind)] = (_by_phrase(reading.hits, kind), None)
    return judged


def _scores(models: RoleModels, reading: Reading) -> dict[str, float]:
    """Return the highest score of any window, for each kind."""
    first, *others = reading.windows()
    best = models.scores(first, reading.dense).tolist()
    for words in others:
        best = [max(pair) for pair in zip(best, models.scores(words, reading.dense).tolist(), strict=True)]
    return dict(zip(models.kinds, best, strict=True))


def _scored(models: RoleModels, scores: dict[str, float], kind: str, *, cjk: bool) -> Answer:
    _, doubt, yes = models.limits[kind][cjk]
    if scores[kind] >= yes:
        return Answer.YES
    return Answer.UNKNOWN if scores[kind] >= doubt else Answer.NO


def _by_phrase(hits: PhraseHits, kind: str) -> Answer:
    """Answer from the phrases alone: a sure one is a yes, a weak one a *don't know*."""
    if hits.count(kind):
        return Answer.YES
    return Answer.UNKNOWN if hits.count(kind, "weak") else Answer.NO


def _surer_by_phrase(by_phrase: Answer, by_model: Answer) -> Answer:
    """Return the answer to a short reply: a yes needs a sure phrase, and a model that does not say no."""
    return Answer.UNKNOWN if by_phrase is Answer.YES and by_model is Answer.NO else by_phrase


def _at_least_doubt(answer: Answer) -> Answer:
    return Answer.UNKNOWN if answer is Answer.NO else answer


def _confirms(text: str, line: str) -> Answer:
    """Answer whether a whole message is a yes and nothing else; a yes with more to it is doubt."""
    if len(text) > MAX_YES_CHARS:
        return Answer.NO
    said, whole = load_phrases().confirms(line)
    if said:
        return Answer.YES if whole else Answer.UNKNOWN
    return Answer.NO


def _is_english(words: Sequence[str]) -> bool:
    """Whether enough of the words are the commonest English ones."""
    return sum(map(_ENGLISH.__contains__, words)) >= _ENGLISH_SHARE * len(words)


def _bounded(text: str, limit: int) -> tuple[str, bool]:
    """Return ``text``, or its head and tail where it is longer than ``limit`` characters, and whether it was cut."""
    if len(text) <= limit:
        return text, False
    return text[: limit // 2] + "\n" + text[-(limit // 2) :], True


@cache
def _shipped_version() -> str:
    """Return a digest of everything shipped that answers depend on."""
    folder = resources.files(__package__)
    entries = [*folder.joinpath("phrases").iterdir(), folder / WEIGHTS_FILE, folder / "look_alikes.txt"]
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.name):
        digest.update(entry.read_bytes())
    return digest.hexdigest()[:8]
