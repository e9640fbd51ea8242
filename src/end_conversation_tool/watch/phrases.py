"""Phrase rules: what people say, written down: signs of risk and insults in twelve languages, the rest in English.

The phrases live in ``phrases/*.txt``, in the small language of :mod:`phrase_grammar`. A rule is tried on a sentence
only where a word, or a pair of words in a row, of each of its required parts is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import cache, cached_property
from importlib import resources
from itertools import pairwise
from typing import TypeAlias

from end_conversation_tool.watch.normalise import fold
from end_conversation_tool.watch.phrase_grammar import SHORT_STEM, parts, read_sections, regex, split

__all__ = ["PhraseBook", "Rule", "load_phrases"]

MAX_WORK = 400_000
"""Characters that rules are tried on, for one text, all rules together; what is left then is not read."""

_SENTENCE = re.compile(r" [^.!?]*[.!?]| [^.!?]+(?= $)")


Trigger: TypeAlias = str | tuple[str, str]
"""What a rule needs: a word, the beginning of one with a star, or two words in a row."""


class Rule:
    """One phrase, compiled when first tried.

    Attributes:
        number: Its place in the files.
        language: Its language, as in the name of its file.
        section: Its section, ``"kind strength"``.
        kind: What it is about.
        excepts: Whether what it finds does not count for its kind.
        far: Whether it may reach across sentences.
        source: The phrase.
        needs: Of each of these sets, one must be in the sentence.
    """

    def __init__(self, number: int, language: str, section: str, source: str) -> None:
        self.number = number
        self.language, self.section, self.source = language, section, source
        self.kind, _, strength = section.partition(" ")
        self.excepts, self.far = strength == "not", "..." in source
        self.needs = [] if language == "zh" else [frozenset(map(_trigger, part)) for part in parts(source)]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The phrase as a pattern over a line of tokens with a space before, between and after them."""
        return re.compile(self.source if self.language == "zh" else " " + regex(self.source))


class PhraseBook:
    """All phrases of all languages, by the words that they need.

    Args:
        sections: ``(language, section, phrases)`` as :func:`read_sections` yields them.

    Attributes:
        rules: The rules, in the order of the files.
    """

    def __init__(self, sections: Iterable[tuple[str, str, list[str]]]) -> None:
        self.rules: list[Rule] = []
        self._by_trigger: dict[Trigger, list[Rule]] = {}
        self._whole: dict[str, list[str]] = {}
        for language, section, phrases in sections:
            if section.startswith("confirms_end"):
                self._whole.setdefault(section, []).extend(phrases)
            else:
                self.rules += [
                    Rule(number, language, section, phrase) for number, phrase in enumerate(phrases, len(self.rules))
                ]
        for rule in self.rules:
            for trigger in rule.needs[0] if rule.needs else ():
                self._by_trigger.setdefault(trigger, []).append(rule)
        self._chinese = [rule for rule in self.rules if rule.language == "zh"]
        self._far = frozenset(rule.kind for rule in self.rules if rule.far)
        needed = {trigger for rule in self.rules for part in rule.needs for trigger in part}
        self._pairs = frozenset(trigger for trigger in needed if isinstance(trigger, tuple))
        self._stems: dict[str, list[tuple[str, str]]] = {}
        for trigger in needed:
            if isinstance(trigger, str) and trigger.endswith("*"):
                self._stems.setdefault(trigger[:SHORT_STEM], []).append((trigger[:-1], trigger))

    def search(self, line: str, kinds: AbstractSet[str]) -> tuple[set[Rule], bool]:
        """Find phrases of some kinds in a text.

        Args:
            line: The tokens of the text (see :func:`normalise.tokens`), with a space before, between and after them.
            kinds: The kinds looked for, by name.

        Returns:
            The rules that were found, and whether all of the text was read. What a ``not`` phrase of a kind covers does
            not count for that kind.
        """
        found: set[Rule] = set()
        work = 0
        sentences = [f"{sentence[0]} " for sentence in _SENTENCE.finditer(line)]
        for part, far in [
            *((sentence, False) for sentence in sentences),
            *([(line, True)] if kinds & self._far else []),
        ]:
            candidates = [rule for rule in self._candidates(part, kinds) if rule.far == far or rule.excepts]
            work += len(part) * len(candidates)
            if work > MAX_WORK:
                return found, False
            cleaned = _blanked(part, candidates)
            found.update(
                rule
                for rule in candidates
                if not rule.excepts and rule not in found and rule.pattern.search(cleaned.get(rule.kind, part))
            )
        return found, True

    def search_chinese(self, text: str, kinds: AbstractSet[str]) -> set[Rule]:
        """Find the Chinese phrases of some kinds in ``text``, a text without spaces."""
        rules = [rule for rule in self._chinese if rule.kind in kinds]
        blanked: dict[str, str] = {}
        for rule in (rule for rule in rules if rule.excepts):
            blanked[rule.kind] = rule.pattern.sub("#", blanked.get(rule.kind, text))
        return {rule for rule in rules if not rule.excepts and rule.pattern.search(blanked.get(rule.kind, text))}

    def without(self, line: str, kind: str) -> str:
        """Return a line of tokens without what the phrases of a kind find in it."""
        for rule in self._candidates(line, {kind}):
            line = line if rule.excepts else rule.pattern.sub(" ", line)
        return line

    def may_find(self, words: Sequence[str], kinds: AbstractSet[str]) -> bool:
        """Whether a phrase of some kinds could be in a text of these words, or in what is left of it without some.

        Args:
            words: The words, in their order, without marks.
            kinds: The kinds, by name.
        """
        return any(not rule.excepts for rule in self._fitting(words, kinds))

    def _candidates(self, line: str, kinds: AbstractSet[str]) -> list[Rule]:
        """Return, in the order of the files, the rules of which every required part may be in a line."""
        return sorted(self._fitting(line.split(), kinds), key=lambda rule: rule.number)

    def _fitting(self, words: Sequence[str], kinds: AbstractSet[str]) -> Iterator[Rule]:
        """Yield the rules of which every required part is among some words in a row."""
        seen = self._triggers_in(words)
        near = {
            rule for first in self._by_trigger.keys() & seen for rule in self._by_trigger[first] if rule.kind in kinds
        }
        yield from (rule for rule in near if not any(map(seen.isdisjoint, rule.needs)))

    def _triggers_in(self, words: Sequence[str]) -> set[Trigger]:
        """Return some words in a row, and the beginnings of words and the pairs of words among them that rules need."""
        seen: set[Trigger] = {*words}
        stems = self._stems
        seen.update(
            [
                stem
                for word in {*words}
                if (beginning := word[:SHORT_STEM]) in stems
                for start, stem in stems[beginning]
                if word.startswith(start)
            ]
        )
        return seen | self._pairs.intersection(pairwise(words))

    def is_yes(self, line: str) -> bool:
        """Whether a whole message is a yes to a question and nothing else, or with mere filler."""
        yes, filler = self._yes_and_filler
        position, said = 1, False
        while position < len(line):
            match = yes.match(line, position)
            said = said or match is not None
            match = match or filler.match(line, position)
            if match is None:
                return False
            position = match.end()
        return said

    @cached_property
    def _yes_and_filler(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Patterns for one yes-phrase and for one piece of filler, the longest first."""
        return _longest_first(self._whole["confirms_end yes"]), _longest_first(
            [*self._whole["confirms_end filler"], ".", "!"]
        )


def _trigger(needed: str) -> Trigger:
    one, _, other = needed.partition(" ")
    return (one, other) if other else one


def _blanked(line: str, rules: Iterable[Rule]) -> dict[str, str]:
    """Return, for each kind with a ``not`` phrase, the line with a sentence end in its place."""
    cleaned: dict[str, str] = {}
    for rule in (rule for rule in rules if rule.excepts):
        cleaned[rule.kind] = rule.pattern.sub(" . ", cleaned.get(rule.kind, line))
    return cleaned


def _longest_first(phrases: list[str]) -> re.Pattern[str]:
    """Join phrases so that one of many words is tried before its own beginning."""
    flat = [
        alternative
        for phrase in phrases
        for alternative in (split(phrase[1:-1]) if re.fullmatch(r"\([^()]*\)", phrase) else [phrase])
    ]
    patterns = [regex(phrase) for phrase in sorted(flat, key=len, reverse=True)]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


@cache
def load_phrases() -> PhraseBook:
    """Return the phrases shipped with the package, read once a process."""
    folder = resources.files(__package__) / "phrases"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".txt")), key=lambda entry: entry.name)
    return PhraseBook(
        (entry.name.removesuffix(".txt"), section, phrases)
        for entry in files
        for section, phrases in read_sections(fold(entry.read_text(encoding="utf-8")))
    )
