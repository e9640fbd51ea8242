"""Text as it is meant, not as it is disguised: one plain form for rules and models to look at.

In order: compatibility forms and accents are folded, invisible characters dropped, look-alike letters of other
scripts read as the Latin ones they imitate, masked words filled in, letters written as digits read as letters,
spelled-out words joined. Every step is linear in the length of the text.

:func:`own_voice` leaves out what a user merely shows: code, quoted lines, quotations. What somebody quotes is not
their own behaviour. (Risk is looked for in the whole text, quotations included: doubt about risk counts.)
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib import resources
from string import ascii_lowercase

__all__ = ["as_meant", "compact", "fold", "has_cjk", "own_voice", "plain", "spells", "tokens"]

_EMOJI = {
    "\N{HOCHO}": " knife ", "\N{PISTOL}": " gun ", "\N{BOMB}": " bomb ", "\N{DAGGER KNIFE}": " knife ",
    "\N{REVERSED HAND WITH MIDDLE FINGER EXTENDED}": " fuck you ", "\N{PILE OF POO}": " shit ",
    "\N{PILL}": " pills ", "\N{CROSSED SWORDS}": " knife ",
}  # fmt: skip
"""Emoji that say something."""

_LEET_LETTERS = "0134578@$"
_LEET = str.maketrans(_LEET_LETTERS, "oieastbas")
_LEET_RUN = re.compile(rf"(?<![a-z{_LEET_LETTERS}])[a-z]*+[{_LEET_LETTERS}][a-z{_LEET_LETTERS}]*")
_MIXED = re.compile(rf"[a-z][{_LEET_LETTERS}]|[{_LEET_LETTERS}][a-z]")
_BESIDE_LETTER = re.compile(rf"[{_LEET_LETTERS}](?:(?<=[a-z].)|(?=[a-z]))")
"""Finds what ``_MIXED`` does, and looks at nothing but digits for it: few texts have any."""

_SHORTHAND = {
    "4ever": "forever", "4eva": "forever", "b4": "before", "h8": "hate", "h8s": "hates", "gr8": "great", "l8": "late",
    "l8r": "later", "m8": "mate", "w8": "wait", "no1": "no one", "any1": "anyone", "some1": "someone",
    "every1": "everyone",
}  # fmt: skip
"""Digits said aloud inside a word, where they do not stand for a letter."""

_DIGIT_WORDS = {
    "2day": "today", "2nite": "tonight", "2night": "tonight", "2morrow": "tomorrow", "2moro": "tomorrow",
    "2gether": "together", "4 ever": "forever",
}  # fmt: skip
_DIGIT_WORD = re.compile(rf" ({'|'.join(_DIGIT_WORDS)})(?= )")
_TOO = re.compile(r" 2 ?(?=(?:much|many|hard|late|far|long|tired|painful|weak|broken) )")
_TO = re.compile(r" 2 ?(?=[a-z])")
_LETTER_WORDS = frozenset("ainruy")
"""Letters that are words, or are said for one: r is are, u is you, y is why, n is and."""

_SINGLE_LETTERS = re.compile(r"[ .\-_*][a-z][ .\-_*][a-z](?![^\W_])")
_SPELLED_OUT = re.compile(r"(?<![^\W_])(?:[a-z]([ .\-_*]))(?:[a-z]\1)+[a-z](?![^\W_])")
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
_THRICE = re.compile(r"(.)\1\1")
_PUNCTUATION = (
    '"#$%&()*+,-/:;<=>@[\\]^_`{|}~\N{BULLET}\N{EM DASH}\N{EN DASH}\N{ARABIC COMMA}\N{IDEOGRAPHIC COMMA}'
    "\N{INVERTED QUESTION MARK}\N{INVERTED EXCLAMATION MARK}"
    "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}"
)
_MARKS = {
    ".": " . ",
    "!": " ! ",
    "?": " ? ",
    "\n": " . ",
    "\N{DEVANAGARI DANDA}": " . ",
    "\N{ARABIC QUESTION MARK}": " ? ",
    "\N{IDEOGRAPHIC FULL STOP}": " . ",
}
_TOKEN_TABLE = str.maketrans({**dict.fromkeys(_PUNCTUATION, " "), "'": None})
"""One character for one: the quick kind of table. Marks of more characters are replaced one by one."""

_MASKED = [
    (re.compile(rf"\b{masked}\b"), word)
    for masked, word in (
        (r"f[*#]{1,3}[ck]?k?", "fuck"),
        (r"f[*#]{1,3}(?:c?k)?ing", "fucking"),
        (r"fu[*#]k", "fuck"),
        (r"sh[*#]t", "shit"),
        (r"s[*#]{2,3}t?", "shit"),
        (r"b[*#]{1,3}t?ch", "bitch"),
        (r"c[*#]{1,2}n?t", "cunt"),
        (r"a[*#]{2}hole", "asshole"),
        (r"k[*#]{1,2}l?l", "kill"),
        (r"d[*#]ck", "dick"),
        (r"s[*#]{1,2}i?cide", "suicide"),
        (r"su[*#]+cide", "suicide"),
        (r"d[*#]e", "die"),
        (r"r[*#]pe", "rape"),
        (r"m[*#]rder", "murder"),
        (r"wh[*#]re", "whore"),
    )
]
"""Words of which letters were replaced by stars."""

_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]{1,400}`", re.DOTALL)
_QUOTED_LINE = re.compile(r"^[ \t]{0,8}(?:>|&gt;|\|).*$", re.MULTILINE)
_QUOTE_PAIRS = (
    ('"', '"'),
    ("\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"),
    ("\N{DOUBLE LOW-9 QUOTATION MARK}", "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"),
    ("\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}", "\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}"),
    ("\N{LEFT CORNER BRACKET}", "\N{RIGHT CORNER BRACKET}"),
)
_QUOTATION = re.compile(
    # No opening mark within: a run of them would be read again from each.
    "|".join(f"{opening}[^{opening}{closing}]{{2,2000}}[{closing}]" for opening, closing in _QUOTE_PAIRS)
    # Single quotes only where they cannot be apostrophes.
    + "|(?<![^\\W_])['\N{LEFT SINGLE QUOTATION MARK}](?=\\S)"
    + "[^'\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\n]{2,500}"
    + "['\N{RIGHT SINGLE QUOTATION MARK}](?![^\\W_])"
)
_FIELDS = ("from", "subject", "de", "von", "da", "betreff", "objet", "asunto")
_WROTE = ("wrote", "writes", "schrieb", "escribio")
_REPORTED = re.compile(
    rf"^[ \t]{0, 8}(?:{'|'.join(_FIELDS)}|on .{{3,80}} wrote|[\w .]{{1,40}} (?:{'|'.join(_WROTE)}))[ \t]*:.*$",
    re.MULTILINE | re.IGNORECASE,
)
_CJK = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


@cache
def _fold_table() -> dict[int, str | None]:
    """Return what becomes of single characters: read as in ``look_alikes.txt``, or dropped."""
    dropped = (
        *range(0x0300, 0x0370),  # accents
        *range(0x064B, 0x0660), 0x0640, 0x0670,  # Arabic vowel signs, tatweel
        *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070),  # zero width, direction
        *range(0xFE00, 0xFE10), 0xFEFF, 0x00AD, 0x034F, 0x061C, 0x180E, 0x115F, 0x1160, 0x3164,
        *range(0xE0000, 0xE0080),
        0x0901, 0x0902, 0x093C,  # Devanagari nasal signs and nukta: often left out
    )  # fmt: skip
    table: dict[int, str | None] = dict.fromkeys(dropped)
    file = resources.files(__package__) / "look_alikes.txt"
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            letter, read_as = line.split(" ")
            table[ord(letter)] = read_as
    table.update({ord(emoji): words for emoji, words in _EMOJI.items()})
    table.update(
        dict.fromkeys(map(ord, "\N{RIGHT SINGLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}\N{ACUTE ACCENT}"), "'")
    )
    table.update(dict.fromkeys(map(ord, "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"), '"'))
    return table


def fold(text: str) -> str:
    """Fold letter forms: lower case, no accents, no invisible characters, look-alikes read as Latin.

    Each character by itself: put in canonical order together, a run of combining marks would take quadratic time.
    """
    if text.isascii():
        return text.lower()
    return text.translate({ord(char): _fold_alone(char) for char in set(text)})


def _fold_alone(char: str) -> str:
    table = _fold_table()
    return unicodedata.normalize("NFKD", char.lower().translate(table)).lower().translate(table)


def plain(text: str) -> str:
    """Return ``text`` folded, with masked, digit-written, stretched and spelled-out words read as meant."""
    folded = fold(text)
    if "*" in folded or "#" in folded:
        for masked, word in _MASKED:
            folded = masked.sub(word, folded)
    if _BESIDE_LETTER.search(folded):
        folded = _LEET_RUN.sub(_read_digits, folded)
    if spells(folded):
        folded = _SPELLED_OUT.sub(_join, folded)
    return _REPEATED.sub(_shrink, folded) if _THRICE.search(folded) else folded


def _read_digits(match: re.Match[str]) -> str:
    """Read the digits in a word as the letters, or the words, that they stand for, from the first beside a letter."""
    run = match[0]
    mixed = _MIXED.search(run)
    if mixed is None:
        return run
    begin = len(run[: mixed.start()].rstrip(f"{ascii_lowercase}@$"))
    word = run[begin:]
    return run[:begin] + (_SHORTHAND.get(word) or word.translate(_LEET))


def _join(match: re.Match[str]) -> str:
    """Join a spelled-out word, but not single letters that are words themselves: ``y r u``."""
    joined = match[0].replace(match[1], "")
    return match[0] if match[1] == " " and _LETTER_WORDS.issuperset(joined) else joined


def _shrink(match: re.Match[str]) -> str:
    """Shrink a stretched letter to two where English doubles it, to one elsewhere: ``kiiillll`` is ``kill``."""
    letter, at_end = match[1], not match.string[match.end() : match.end() + 1].isalnum()
    doubled = letter in "lsf" if at_end else letter not in "aiuhjkqvwxy"
    return letter * 2 if doubled else letter


def tokens(plain_text: str) -> list[str]:
    """Split plain text into words and the marks ``.`` ``!`` ``?``."""
    for mark, spaced in _MARKS.items():
        if mark in plain_text:
            plain_text = plain_text.replace(mark, spaced)
    if plain_text.isascii():
        return plain_text.translate(_TOKEN_TABLE).split()
    for mark in _PUNCTUATION:
        if mark in plain_text:
            plain_text = plain_text.replace(mark, " ")
    return plain_text.replace("'", "").split()


def as_meant(line: str) -> str:
    """Return a line of plain tokens, each between spaces, with the digits 2 and 4 read as the words they sound like.

    Often they are numbers all the same: look for phrases in the line as it is as well.
    """
    if " 2" not in line and " 4" not in line:
        return line
    line = _DIGIT_WORD.sub(lambda match: f" {_DIGIT_WORDS[match[1]]}", line)
    line = _TOO.sub(" too ", line)
    return _TO.sub(" to ", line).replace(" 4 ", " for ")


def spells(text: str) -> bool:
    """Whether two letters stand beside each other in ``text``, each for itself: a word may be spelled out."""
    return _SINGLE_LETTERS.search(text) is not None


def has_cjk(text: str) -> bool:
    """Whether ``text`` holds Chinese characters."""
    return not text.isascii() and _CJK.search(text) is not None


def compact(plain_text: str) -> str:
    """Return plain text without any space or mark, for languages that write none between words."""
    return "".join(filter(str.isalnum, plain_text))


def own_voice(text: str) -> str:
    """Return ``text`` with spaces for code, quoted lines, quotations and mail headers: their own words."""
    for shown in (_CODE, _QUOTED_LINE, _REPORTED, _QUOTATION):
        text = shown.sub(lambda match: " " * len(match[0]), text)
    return text
