"""Which phrases are in a text: a search whose cost follows what the text says, and not the number of phrases.

A rule is tried on a sentence only where its words are seen together: a *trigger* of each of its required parts (a word,
or a stem with a star), and the whole of one alternative of the rarest of them. Where a phrase is nothing but such
alternatives, that is the answer; otherwise its regular expression decides, compiled when it is first tried.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from end_conversation_tool.watch.phrase_grammar import SHORT_STEM, is_literal, parts, regex, spaced

__all__ = ["PhraseIndex", "Rule"]

_SENTENCE = re.compile(r" [^.!?]*[.!?]| [^.!?]+(?= $)")
_BLOCK_CHARS = 600
"""Characters of the sentences that are looked at together: many rules have a trigger somewhere in a longer text."""

_REMEMBERED = 20_000
"""Tokens whose stems are remembered, for each set of kinds."""

_LONGEST_REMEMBERED = 40
"""Characters of the longest of them."""

_Blanks = dict[str, list[tuple[int, int, str]]]
"""For each kind, the sentences of which something was blanked out: begin, end, and what is left."""


class Rule:
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
                if not strings or any(map(line.__contains__, strings)):
                    break
            else:
                return False
        return True


_Entries = dict[str, list[tuple[str, frozenset[str], Rule]]]
"""For each trigger: a string, its words if there are several, and the rule that may be found where it is."""


class PhraseIndex:
    """Rules by the triggers of their rarest part.

    Args:
        rules: In the order of the files.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._near: _Entries = {}
        self._far: _Entries = {}
        stems = set[str]()
        for rule in rules:
            for trigger, strings in rule.first.items():
                entries = (self._far if rule.far else self._near).setdefault(trigger, [])
                entries += [(string, _words_in(string), rule) for string in strings]
            stems.update(trigger for part in (rule.first, *rule.others) for trigger in part if trigger.endswith("*"))
        self._far_kinds = {rule.kind for entries in self._far.values() for *_, rule in entries}
        self._near_triggers, self._far_triggers = frozenset(self._near), frozenset(self._far)
        self._stems = frozenset(stems)
        self._heads = {stem[:SHORT_STEM] for stem in stems}
        self._lengths = sorted({len(stem) - 1 for stem in stems})
        self._stemless = set[str]()
        self._stems_of: dict[str, tuple[str, ...]] = {}

    def search(self, line: str, seen: set[str]) -> dict[Rule, int]:
        """Return the rules that are found, each with the place of the first.

        Args:
            line: Tokens with a space before, between and after them.
            seen: The different tokens; stems are added.
        """
        found: dict[Rule, int] = {}
        blanks: _Blanks = {}
        if len(line) <= _BLOCK_CHARS:
            self._add_stems(seen)
            self._search_block(line, 0, seen, found, blanks)
        else:
            for block, place in _blocks(line):
                tokens = set(block.split())
                self._add_stems(tokens)
                self._search_block(block, place, tokens, found, blanks)
                seen |= tokens
        if self._far:
            for rule in _candidates(self._far, self._far_triggers & seen, line, seen):
                match = rule.pattern().search(_without(line, blanks[rule.kind]) if rule.kind in blanks else line)
                if match:
                    found[rule] = match.start()
        return found

    def _search_block(self, line: str, place: int, seen: set[str], found: dict[Rule, int], blanks: _Blanks) -> None:
        """Search some sentences; what a ``not`` phrase covers is blanked out first, for the rules of its kind."""
        candidates = _candidates(self._near, self._near_triggers & seen, line, seen)
        if not candidates:
            return
        sought = {rule.kind for rule in candidates if not rule.excepts} | self._far_kinds
        excepting = [rule for rule in candidates if rule.excepts and rule.kind in sought]
        excepted = {rule.kind for rule in excepting}
        rest: dict[Rule, list[str]] = {rule: candidates[rule] for rule in excepting}
        for rule, strings in candidates.items():
            if rule.excepts or rule in found:
                continue
            if rule.literal and rule.kind not in excepted:
                found[rule] = place + min(map(line.find, strings))
            else:
                rest[rule] = strings
        if rest:
            _search_sentences(line, place, rest, found, blanks)

    def _add_stems(self, seen: set[str]) -> None:
        """Add the stems that the tokens begin with."""
        for token in seen - self._stemless:
            stems = self._stems_of.get(token)
            seen.update(self._learn(token) if stems is None else stems)

    def _learn(self, token: str) -> tuple[str, ...]:
        """Return the stems that a token begins with, and remember them: most words of a language are seen again."""
        stems: tuple[str, ...] = ()
        if token[:SHORT_STEM] in self._heads:
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


def _candidates(entries: _Entries, triggers: frozenset[str], line: str, seen: set[str]) -> dict[Rule, list[str]]:
    """Return the rules of which every required part may be in a line, with the strings of the first that are there."""
    found: dict[Rule, list[str]] = {}
    for trigger in triggers:
        for string, words, rule in entries[trigger]:
            if words <= seen:
                for others in rule.needs:
                    if others.isdisjoint(seen):
                        break
                else:
                    if (not words or string in line) and (rule in found or rule.may_be_in(line, seen)):
                        found.setdefault(rule, []).append(string)
    return found


def _search_sentences(
    line: str, place: int, rules: dict[Rule, list[str]], found: dict[Rule, int], blanks: _Blanks
) -> None:
    """Try rules on the sentences that hold one of their strings."""
    sentences = list(_SENTENCE.finditer(line))
    starts = [sentence.start() for sentence in sentences]
    at: dict[int, set[Rule]] = {}
    for rule, strings in rules.items():
        for where in _places(line, strings):
            at.setdefault(bisect_right(starts, where) - 1, set()).add(rule)
    for number in sorted(at):
        sentence, begin = f"{sentences[number][0]} ", place + starts[number]
        cleaned = _blanked(sentence, at[number])
        for rule in at[number]:
            if rule not in found and not rule.excepts:
                match = rule.pattern().search(cleaned.get(rule.kind, sentence))
                if match:
                    found[rule] = begin + match.start()
        for kind, left in cleaned.items():
            blanks.setdefault(kind, []).append((begin, begin + len(sentence), left))


def _places(line: str, strings: list[str]) -> Iterator[int]:
    """Yield every place of every string."""
    for string in strings:
        where = line.find(string)
        while where >= 0:
            yield where
            where = line.find(string, where + 1)


def _blanked(line: str, rules: set[Rule]) -> dict[str, str]:
    """Return, for each kind with a ``not`` phrase in the line, the line with a sentence end in its place."""
    cleaned: dict[str, str] = {}
    excepting = [rule for rule in rules if rule.excepts]
    for rule in sorted(excepting, key=lambda rule: rule.number):
        before = cleaned.get(rule.kind, line)
        after = rule.pattern().sub(" . ", before)
        if after != before:
            cleaned[rule.kind] = after
    return cleaned


def _without(line: str, blanks: list[tuple[int, int, str]]) -> str:
    """Return a line with some of its sentences, in order, replaced by what is left of them."""
    pieces, end = [], 0
    for begin, stop, left in blanks:
        pieces += [line[end:begin], left[:-1]]
        end = stop - 1
    return "".join([*pieces, line[end:]])


def _blocks(line: str) -> Iterator[tuple[str, int]]:
    """Split a line into lines of whole sentences, each with its place."""
    begin = 0
    for sentence in _SENTENCE.finditer(line):
        if sentence.end() - begin >= _BLOCK_CHARS:
            yield line[begin : sentence.end() + 1], begin
            begin = sentence.end()
    if begin < len(line) - 1:
        yield line[begin:], begin


def _words_in(string: str) -> frozenset[str]:
    """Return the whole words of a string of several words; none of a single word or stem, which is a trigger itself."""
    return frozenset(string.split(" ")[1:-1] if " " in string.strip() else ())
