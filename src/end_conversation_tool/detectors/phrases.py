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
    SHORT_STEM,
    STEM,
    read_sections,
    regex,
    split,
    triggers,
)

__all__ = ["PhraseBook", "PhraseHits", "load_phrases"]

_SENTENCE_ENDS = frozenset(".!?")
_REMEMBERED = 20_000
"""Tokens whose triggers are remembered, for each set of kinds."""


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
        first: Triggers of its rarest required part, one of which must occur.
        others: The same for each other required part.
    """

    __slots__ = ("_compiled", "excepts", "far", "first", "kind", "language", "number", "others", "section", "source")

    def __init__(self, number: int, language: str, section: str, source: str) -> None:
        self.number, self.language, self.section, self.source = number, language, section, source
        self.kind, _, strength = section.partition(" ")
        self.excepts = strength == "not"
        self.far = "..." in source
        self.first, *self.others = triggers(source)
        self._compiled: re.Pattern[str] | None = None

    def pattern(self) -> re.Pattern[str]:
        """Return the phrase as a pattern over a line of tokens with a space before, between and after them."""
        if self._compiled is None:
            self._compiled = re.compile(" " + regex(self.source))
        return self._compiled


class _Index:
    """Rules by the triggers of their rarest part."""

    def __init__(self) -> None:
        self._rules: dict[str, list[_Rule]] = {}
        self._triggers: set[str] = set()
        self._of_token: dict[str, tuple[str, ...]] = {}

    def add(self, rule: _Rule) -> None:
        """Add a rule under each of its triggers."""
        self._triggers.update(rule.first, *rule.others)
        for trigger in rule.first:
            self._rules.setdefault(trigger, []).append(rule)

    def candidates(self, tokens: list[str]) -> list[_Rule]:
        """Return the rules of which every required part has a trigger among the tokens, in the order of the files."""
        if not self._rules:
            return []
        seen = set[str]()
        known = self._of_token
        for token in tokens:
            triggers = known.get(token)
            if triggers is None:
                triggers = self._learn(token)
            if triggers:
                seen.update(triggers)
        found: dict[int, _Rule] = {}
        for trigger in seen & self._rules.keys():
            for rule in self._rules[trigger]:
                for part in rule.others:
                    if seen.isdisjoint(part):
                        break
                else:
                    found[rule.number] = rule
        return [found[number] for number in sorted(found)]

    def _learn(self, token: str) -> tuple[str, ...]:
        """Return the triggers that a token is, and remember them: most words of a language are seen again."""
        if len(self._of_token) >= _REMEMBERED:
            self._of_token.clear()
        forms = {token, token[:STEM] + "*", token[:SHORT_STEM] + "*"}
        self._of_token[token] = found = tuple(sorted(forms & self._triggers))
        return found


class PhraseBook:
    """All phrases of all languages, indexed by their triggers.

    Args:
        sections: ``(language, section, phrases)`` as :func:`read_sections` yields them.

    Attributes:
        rules: The rules over tokens, in the order of the files.
    """

    def __init__(self, sections: Iterable[tuple[str, str, list[str]]]) -> None:
        self.rules: list[_Rule] = []
        self._indices: dict[frozenset[str], tuple[_Index, _Index]] = {}
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
        index, far = self._index_of(kinds)
        places: dict[_Rule, int] = {}
        whole: dict[str, list[str]] = {}
        offset = 0
        for sentence in _sentences(tokens):
            line = " " + " ".join(sentence) + " "
            rules = index.candidates(sentence)
            cleaned = _blanked(line, rules)
            for rule in rules:
                if rule not in places and not rule.excepts:
                    match = rule.pattern().search(cleaned.get(rule.kind, line))
                    if match:
                        places[rule] = offset + match.start()
            for kind in cleaned:
                whole.setdefault(kind, [" "] if not offset else [" " + " ".join(tokens)[:offset]])
            for kind, parts in whole.items():
                parts.append(cleaned.get(kind, line)[1:])
            offset += len(line) - 1
        self._search_far(far, tokens, whole, places)
        hits = PhraseHits()
        for rule, place in places.items():
            hits.add(rule.section, rule.language, place)
        return hits

    @staticmethod
    def _search_far(far: _Index, tokens: list[str], whole: dict[str, list[str]], places: dict[_Rule, int]) -> None:
        """Try the rules that reach across sentences on the text as a whole, without what was blanked out."""
        line = ""
        for rule in far.candidates(tokens):
            line = line or " " + " ".join(tokens) + " "
            match = rule.pattern().search("".join(whole[rule.kind]) if rule.kind in whole else line)
            if match:
                places[rule] = match.start()

    def _index_of(self, kinds: frozenset[str]) -> tuple[_Index, _Index]:
        """Return the rules of some kinds by the triggers of their rarest part: those within a sentence, and those not.

        Made once for each set of kinds.
        """
        if kinds not in self._indices:
            near, far = _Index(), _Index()
            for rule in self.rules:
                if rule.kind in kinds:
                    (far if rule.far else near).add(rule)
            self._indices[kinds] = near, far
        return self._indices[kinds]

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


def _sentences(tokens: list[str]) -> Iterator[list[str]]:
    """Split tokens after each sentence end."""
    start = 0
    for place, token in enumerate(tokens, 1):
        if token in _SENTENCE_ENDS:
            yield tokens[start:place]
            start = place
    if start < len(tokens):
        yield tokens[start:]


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
