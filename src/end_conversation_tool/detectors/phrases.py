"""Phrase rules: what people say, written down, in twelve languages.

The phrases live in ``phrases/*.txt``, in the small language of :mod:`phrase_grammar`.

A rule is tried on a sentence only if a *trigger* of each of its required parts occurs there: one of the words, or the
beginning of one. So a message costs time in proportion to what it says, and not to the number of rules; and a rule is
compiled when it is first tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from end_conversation_tool.detectors.normalise import fold
from end_conversation_tool.detectors.phrase_grammar import (
    is_literal,
    parts,
    read_sections,
    regex,
    spaced,
    split,
)

__all__ = ["PhraseBook", "PhraseHits", "load_phrases"]

_SENTENCE = re.compile(r" [^.!?]*[.!?]| [^.!?]+(?= $)")
_REMEMBERED = 20_000
"""Tokens whose stems are remembered, for each set of kinds."""

_LONGEST_REMEMBERED = 40
"""Characters of the longest of them."""


@dataclass(slots=True)
class PhraseHits:
    """What the phrases found in one text.

    Attributes:
        sections: Number of different phrases found, for each ``"kind strength"``.
        languages: Languages of the sure phrases found, for each kind.
        places: Where the phrases of each section begin, in characters.
    """

    sections: dict[str, int] = field(default_factory=dict)
    languages: dict[str, set[str]] = field(default_factory=dict)
    places: dict[str, list[int]] = field(default_factory=dict)

    def count(self, kind: str, strength: str = "sure") -> int:
        """Return how many phrases of a section were found."""
        return self.sections.get(f"{kind} {strength}", 0)

    def before(self, kind: str, strength: str, place: int) -> int:
        """Return how many phrases of a section begin before a place, given in characters."""
        return sum(start < place for start in self.places.get(f"{kind} {strength}", ()))

    def add(self, section: str, language: str, place: int) -> None:
        """Note that a phrase of a section was found."""
        self.sections[section] = self.sections.get(section, 0) + 1
        self.places.setdefault(section, []).append(place)
        kind, _, strength = section.partition(" ")
        if strength == "sure":
            self.languages.setdefault(kind, set()).add(language)

    def foreign(self, kind: str) -> bool:
        """Whether a sure phrase of a language other than English was found."""
        return bool(self.languages.get(kind, set()) - {"en"})


class _Rule:
    """One phrase, compiled when first tried.

    Attributes:
        number: Its place in the files.
        kind: The kind it is about.
        section: Its section.
        language: Its language.
        source: The phrase.
        excepts: Whether what it finds does not count.
        far: Whether it may reach across sentences.
        literal: Whether it is found wherever a string of its first part is.
        first: Its rarest required part: triggers, and the strings of which one must be in the line.
        needs: Triggers of each other required part.
        others: The same, with the strings of which one must be in the line; none where the trigger is enough.
    """

    __slots__ = (
        "_compiled",
        "excepts",
        "far",
        "first",
        "kind",
        "language",
        "literal",
        "needs",
        "number",
        "others",
        "section",
        "source",
    )

    def __init__(self, number: int, language: str, section: str, source: str) -> None:
        self.number, self.language, self.section, self.source = number, language, section, source
        self.kind, _, strength = section.partition(" ")
        self.excepts = strength == "not"
        self.far = "..." in source
        self.literal = not self.excepts and is_literal(source)
        self.first, *others = parts(source)
        self.others = [
            {trigger: [] if spaced(trigger) in strings else strings for trigger, strings in part.items()}
            for part in others
        ]
        self.needs = [frozenset(part) for part in self.others]
        self._compiled: re.Pattern[str] | None = None

    def pattern(self) -> re.Pattern[str]:
        """Return the phrase as a pattern over a line of tokens with a space before, between and after them."""
        if self._compiled is None:
            self._compiled = re.compile(" " + regex(self.source))
        return self._compiled

    def may_be_in(self, line: str, seen: set[str]) -> bool:
        """Whether every other required part is somewhere in a line of which ``seen`` are the triggers."""
        for triggers, part in zip(self.needs, self.others, strict=True):
            for trigger in triggers & seen:
                strings = part[trigger]
                if not strings or any(string in line for string in strings):
                    break
            else:
                return False
        return True


class _Index:
    """Rules by the triggers of their rarest part.

    A trigger is a word, or a stem with a star.
    """

    def __init__(self, rules: Iterable[_Rule]) -> None:
        self._rules: dict[str, list[tuple[str, frozenset[str], _Rule]]] = {}
        stems = set[str]()
        for rule in rules:
            for trigger, strings in rule.first.items():
                entries = self._rules.setdefault(trigger, [])
                entries += [(string, _words_in(string), rule) for string in strings]
            stems.update(trigger for part in (rule.first, *rule.others) for trigger in part if trigger.endswith("*"))
        self._triggers = frozenset(self._rules)
        self._stems = frozenset(stems)
        self._lengths = sorted({len(stem) - 1 for stem in stems})
        self._stemless = set[str]()
        self._stems_of: dict[str, tuple[str, ...]] = {}

    def candidates(self, line: str, seen: set[str]) -> dict[_Rule, list[str]]:
        """Return the rules of which every required part may be in a line, with the strings of the first that are there.

        Args:
            line: Tokens with a space before, between and after them.
            seen: The different tokens.
        """
        for token in seen - self._stemless:
            stems = self._stems_of.get(token)
            seen.update(self._learn(token) if stems is None else stems)
        found: dict[_Rule, list[str]] = {}
        for trigger in self._triggers & seen:
            for string, words, rule in self._rules[trigger]:
                if words <= seen:
                    for triggers in rule.needs:
                        if triggers.isdisjoint(seen):
                            break
                    else:
                        if (not words or string in line) and (rule in found or rule.may_be_in(line, seen)):
                            found.setdefault(rule, []).append(string)
        return found

    def _learn(self, token: str) -> tuple[str, ...]:
        """Return the stems that a token begins with, and remember them: most words of a language are seen again."""
        stems = tuple(self._stems.intersection([token[:length] + "*" for length in self._lengths]))
        if len(token) <= _LONGEST_REMEMBERED:
            if len(self._stemless) + len(self._stems_of) >= _REMEMBERED:
                self._stemless.clear()
                self._stems_of.clear()
            if stems:
                self._stems_of[token] = stems
            else:
                self._stemless.add(token)
        return stems


def _words_in(string: str) -> frozenset[str]:
    """Return the whole words of a string of several words; none of a single word or stem, which is a trigger itself."""
    return frozenset(string.split(" ")[1:-1] if " " in string.strip() else ())


class PhraseBook:
    """All phrases of all languages, indexed by their triggers.

    Args:
        sections: ``(language, section, phrases)`` as :func:`read_sections` yields them.

    Attributes:
        rules: The rules over tokens, in the order of the files.
    """

    def __init__(self, sections: Iterable[tuple[str, str, list[str]]]) -> None:
        self.rules: list[_Rule] = []
        self._indices: dict[frozenset[str], _Index] = {}
        self._cjk: list[tuple[str, re.Pattern[str]]] = []
        self._whole: dict[str, list[str]] = {}
        self._compiled_whole: tuple[re.Pattern[str], re.Pattern[str]] | None = None
        for language, section, phrases in sections:
            if language == "zh":
                self._cjk.append((section, re.compile("|".join(f"(?:{phrase})" for phrase in phrases))))
            elif section.startswith("confirms_end"):
                self._whole.setdefault(section, []).extend(phrases)
            else:
                self.rules += [
                    _Rule(number, language, section, phrase) for number, phrase in enumerate(phrases, len(self.rules))
                ]

    def search(self, tokens: list[str], kinds: frozenset[str]) -> PhraseHits:
        """Find phrases of some kinds in a text.

        Args:
            tokens: The text as :func:`normalise.tokens` leaves it.
            kinds: The kinds looked for, by name.

        Returns:
            The sections in which something was found. Where a ``not`` phrase of a kind occurs, its words do not count
            for that kind.
        """
        line = f" {' '.join(tokens)} "
        candidates = self._index_of(kinds).candidates(line, set(tokens))
        hits = PhraseHits()
        if candidates:
            for rule, place in _matches(line, candidates).items():
                hits.add(rule.section, rule.language, place)
        return hits

    def _index_of(self, kinds: frozenset[str]) -> _Index:
        """Return the index of the rules of some kinds, made once for each set of kinds."""
        index = self._indices.get(kinds)
        if index is None:
            index = self._indices[kinds] = _Index(rule for rule in self.rules if rule.kind in kinds)
        return index

    def search_cjk(self, text: str, kinds: frozenset[str], hits: PhraseHits) -> None:
        """Add to ``hits`` what the Chinese phrases find in ``text``, a text without spaces."""
        blanked: dict[str, str] = {}
        for section, pattern in self._cjk:
            kind, _, strength = section.partition(" ")
            if kind not in kinds:
                continue
            if strength == "not":
                blanked[kind] = pattern.sub("#", text)
            else:
                for match in pattern.finditer(blanked.get(kind, text)):
                    hits.add(section, "zh", match.start())

    def confirms(self, tokens: list[str]) -> tuple[bool, bool]:
        """Read a whole message as a yes to a question.

        The text is consumed from the left, a yes-phrase where one fits, otherwise filler or a mark; time is linear.

        Returns:
            Whether a yes-phrase was among what was read, and whether the whole message could be read so.
        """
        line, position, said = " " + " ".join(tokens) + " ", 1, False
        yes, filler = self._whole_patterns()
        while position < len(line):
            match = yes.match(line, position)
            said = said or match is not None
            match = match or filler.match(line, position)
            if match is None:
                return said, False
            position = match.end()
        return said, True

    def _whole_patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Return patterns for one yes-phrase and for one piece of filler, the longest first; compiled once."""
        if self._compiled_whole is None:
            yes, filler = self._whole["confirms_end yes"], self._whole["confirms_end filler"]
            self._compiled_whole = (_longest_first(yes), _longest_first([*filler, ".", "!"]))
        return self._compiled_whole


def _longest_first(phrases: list[str]) -> re.Pattern[str]:
    """Join phrases so that one of many words is tried before its own beginning."""
    flat = [
        alternative
        for phrase in phrases
        for alternative in (split(phrase[1:-1]) if re.fullmatch(r"\([^()]*\)", phrase) else [phrase])
    ]
    patterns = [regex(phrase) for phrase in sorted(flat, key=len, reverse=True)]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


def _matches(line: str, candidates: dict[_Rule, list[str]]) -> dict[_Rule, int]:
    """Return the rules that are found in a line of tokens, each with its place.

    What a ``not`` phrase covers is blanked out first, for the rules of its kind.
    """
    excepted = {rule.kind for rule in candidates if rule.excepts}
    found = {
        rule: min(map(line.find, strings))
        for rule, strings in candidates.items()
        if rule.literal and rule.kind not in excepted
    }
    rest = {rule: strings for rule, strings in candidates.items() if rule not in found}
    if rest:
        whole = _search_sentences(line, rest, found)
        for rule in rest:
            if rule.far and (match := rule.pattern().search("".join(whole.get(rule.kind, [line])))):
                found[rule] = match.start()
    return found


def _search_sentences(line: str, rules: dict[_Rule, list[str]], found: dict[_Rule, int]) -> dict[str, list[str]]:
    """Add to ``found`` what is found within a sentence.

    Returns:
        For each kind of which something was blanked out, the line without it, in pieces.
    """
    whole: dict[str, list[str]] = {}
    near = [(rule, rules[rule]) for rule in sorted(rules, key=lambda rule: rule.number) if not rule.far]
    for sentence, place in _sentences(line):
        here = [rule for rule, strings in near if any(string in sentence for string in strings)]
        cleaned = _blanked(sentence, here)
        for rule in here:
            if rule not in found and not rule.excepts:
                match = rule.pattern().search(cleaned.get(rule.kind, sentence))
                if match:
                    found[rule] = place + match.start()
        for kind in cleaned:
            whole.setdefault(kind, [line[: place + 1]])
        for kind, pieces in whole.items():
            pieces.append(cleaned.get(kind, sentence)[1:])
    return whole


def _sentences(line: str) -> Iterator[tuple[str, int]]:
    """Split a line of tokens after each sentence end; yield each with its place, and a space before and after it."""
    for match in _SENTENCE.finditer(line):
        yield f"{match[0]} ", match.start()


def _blanked(line: str, rules: list[_Rule]) -> dict[str, str]:
    """Return, for each kind with a ``not`` phrase in the line, the line with a sentence end in its place."""
    cleaned: dict[str, str] = {}
    for rule in rules:
        if rule.excepts:
            before = cleaned.get(rule.kind, line)
            after = rule.pattern().sub(" . ", before)
            if after != before:
                cleaned[rule.kind] = after
    return cleaned


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
