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
from functools import cache, lru_cache
from importlib import resources
from string import ascii_lowercase

__all__ = ["as_meant", "compact", "fold", "has_cjk", "own_voice", "plain", "tokens"]

_EMOJI = {
    "\N{HOCHO}": " knife ", "\N{PISTOL}": " gun ", "\N{BOMB}": " bomb ", "\N{DAGGER KNIFE}": " knife ",
    "\N{REVERSED HAND WITH MIDDLE FINGER EXTENDED}": " fuck you ", "\N{PILE OF POO}": " shit ",
    "\N{PILL}": " pills ", "\N{CROSSED SWORDS}": " knife ",
}  # fmt: skip
"""Emoji that say something."""

_LEET_LETTERS = "0134578@$"
_LEET = str.maketrans(_LEET_LETTERS, "oieastbas")
_LEET_TOKEN = re.compile(r"[a-z@$]*(?:[a-z][0134578@$]|[0134578@$][a-z])[a-z0134578@$]*")
_LEET_RUN = ascii_lowercase + _LEET_LETTERS
_LEET_WORD = re.compile(r"[a-z0134578@$]+")
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

_MAY_BE_LETTER = re.compile(r"[0134578@$](?:(?=[a-z@$])|(?<=[a-z@$].))")
_SINGLE_LETTERS = re.compile(r"[ .\-_*][a-z][ .\-_*][a-z](?![^\W_])")
_SPELLED_OUT = re.compile(r"(?<![^\W_])(?:[a-z]([ .\-_*]))(?:[a-z]\1)+[a-z](?![^\W_])")
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
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
_QUOTED_LINE = re.compile(r"^[ \t]*(?:>|&gt;|\|).*$", re.MULTILINE)
_QUOTE_PAIRS = (
    ('"', '"'),
    ("\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"),
    ("\N{DOUBLE LOW-9 QUOTATION MARK}", "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"),
    ("\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}", "\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}"),
    ("\N{LEFT CORNER BRACKET}", "\N{RIGHT CORNER BRACKET}"),
)
_QUOTATION = re.compile(
    "|".join(f"{opening}[^{closing}]{{2,2000}}[{closing}]" for opening, closing in _QUOTE_PAIRS)
    # Single quotes only where they cannot be apostrophes.
    + "|(?<![^\\W_])['\N{LEFT SINGLE QUOTATION MARK}](?=\\S)[^'\N{RIGHT SINGLE QUOTATION MARK}\n]{2,500}"
    + "['\N{RIGHT SINGLE QUOTATION MARK}](?![^\\W_])"
)
_OPENING = "".join(opening for opening, _ in _QUOTE_PAIRS) + "\N{LEFT SINGLE QUOTATION MARK}"
"""Marks that may open a quotation, the single one apart that may be an apostrophe."""

_FIELDS = ("from", "subject", "de", "von", "da", "betreff", "objet", "asunto")
_WROTE = ("wrote", "writes", "schrieb", "escribio")
_HEADERS = (*_FIELDS, *_WROTE)
_LONGEST_HEADER = max(map(len, _HEADERS))
_REPORTED = re.compile(
    rf"^[ \t]*(?:{'|'.join(_FIELDS)}|on .{{3,80}} wrote|[\w .]{{1,40}} (?:{'|'.join(_WROTE)}))[ \t]*:.*$",
    re.MULTILINE | re.IGNORECASE,
)
_ASCII = frozenset(map(chr, range(128)))
_FEW = 16
"""Number of characters up to which replacing one after the other is quicker than a table."""

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
    """Fold letter forms: lower case, no accents, no invisible characters, look-alikes read as Latin."""
    lowered = text.lower()
    if text.isascii():
        return lowered
    folded = {char: _fold_alone(char) for char in set(lowered) - _ASCII}
    if None in folded.values():
        return _fold_together(lowered)
    changed = {char: read_as for char, read_as in folded.items() if read_as is not None and read_as != char}
    if len(changed) > _FEW or not "".join(changed.values()).isascii():
        return lowered.translate({ord(char): read_as for char, read_as in changed.items()})
    for char, read_as in changed.items():
        lowered = lowered.replace(char, read_as)
    return lowered


def _fold_together(lowered: str) -> str:
    """Fold text in lower case with all of its characters in view."""
    return unicodedata.normalize("NFKD", lowered.translate(_fold_table())).lower().translate(_fold_table())


@lru_cache(maxsize=8192)
def _fold_alone(char: str) -> str | None:
    """Fold one character, or return ``None`` where the characters beside it may matter.

    They matter to the order of combining characters that stay, and to the lower case of a capital sigma.
    """
    decomposed = unicodedata.normalize("NFKD", char.translate(_fold_table()))
    folded = decomposed.lower().translate(_fold_table())
    alone = "\N{GREEK CAPITAL LETTER SIGMA}" not in decomposed and not any(map(unicodedata.combining, folded))
    return folded if alone else None


def plain(text: str) -> str:
    """Return ``text`` folded, with masked, digit-written, stretched and spelled-out words read as meant."""
    folded = fold(text)
    if "*" in folded or "#" in folded:
        for masked, word in _MASKED:
            folded = masked.sub(word, folded)
    if any(map(folded.__contains__, _LEET_LETTERS)):
        folded = _read_digits(folded)
    if _SINGLE_LETTERS.search(folded):
        folded = _SPELLED_OUT.sub(_join, folded)
    if _may_be_stretched(folded):
        folded = _REPEATED.sub(_shrink, folded)
    return folded


def _read_digits(text: str) -> str:
    """Read the digits in words as the letters, or the words, that they stand for."""
    pieces, end = list[str](), 0
    for match in _MAY_BE_LETTER.finditer(text):
        if match.start() >= end:
            before = text[end : match.start()].rstrip(_LEET_RUN)
            begin = end + len(before)
            word = _LEET_WORD.match(text, begin)
            if word:
                pieces += (before, _LEET_TOKEN.sub(_read_word, word[0]))
                end = word.end()
    return "".join([*pieces, text[end:]])


def _read_word(match: re.Match[str]) -> str:
    return _SHORTHAND.get(match[0]) or match[0].translate(_LEET)


def _may_be_stretched(text: str) -> bool:
    """Whether some character may occur three times in a row.

    The text is taken for one large number, of which every character is compared with the two before it at once.
    """
    data, width = (text.encode(), 1) if text.isascii() else (text.encode("utf-32-be", "surrogatepass"), 4)
    number = int.from_bytes(data, "big")
    differs = number ^ (number >> 8 * width)
    return bytes(width) in (differs | differs >> 8 * width).to_bytes(len(data), "big")


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
    line = _DIGIT_WORD.sub(lambda match: f" {_DIGIT_WORDS[match[1]]}", line)
    line = _TOO.sub(" too ", line)
    return _TO.sub(" to ", line).replace(" 4 ", " for ")


def has_cjk(text: str) -> bool:
    """Whether ``text`` holds Chinese characters."""
    return not text.isascii() and _CJK.search(text) is not None


def compact(plain_text: str) -> str:
    """Return plain text without any space or mark, for languages that write none between words."""
    return "".join(filter(str.isalnum, plain_text))


def own_voice(text: str) -> str:
    """Return ``text`` without code, quoted lines, quotations and mail headers: what the user says themselves."""
    if "`" in text or "~~~" in text:
        text = _CODE.sub(" ", text)
    if ">" in text or "&gt;" in text or "|" in text:
        text = _QUOTED_LINE.sub(" ", text)
    if ":" in text and any(map(_may_be_header, text.split(":")[:-1])):
        text = _REPORTED.sub(" ", text)
    if any(map(text.__contains__, _OPENING)) or any(map(_is_no_apostrophe, text.split("'")[:-1])):
        text = _QUOTATION.sub(" ", text)
    return text


def _may_be_header(before: str) -> bool:
    """Whether what stands before a colon may be the head of a quoted mail."""
    tail = before.rstrip(" \t")[-_LONGEST_HEADER:]
    return not tail.isascii() or tail.lower().endswith(_HEADERS)


def _is_no_apostrophe(before: str) -> bool:
    """Whether a single quotation mark after ``before`` may open a quotation: it does not follow a letter."""
    return not before[-1:].isalnum()
