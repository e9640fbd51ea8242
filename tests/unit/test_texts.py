"""What a user reads: twelve languages, the host's own words, and functions that fail."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from typing import Any

import pytest

from end_conversation_tool._core.records import Category, is_storable
from end_conversation_tool._core.texts import LANGUAGES, MAX_TEXT_CHARS, Texts
from end_conversation_tool.errors import InvalidInputError

ABUSE, HARM, USER = Category.ABUSE, Category.HARMFUL_REQUESTS, Category.USER_REQUEST
CONDUCT = [ABUSE, HARM]


def file_of(language: str) -> dict[str, Any]:
    file = resources.files("end_conversation_tool._core.texts") / f"{language}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def shape(value: Any) -> Any:
    return {name: shape(inner) for name, inner in value.items()} if isinstance(value, dict) else str


def leaves(value: Any) -> list[str]:
    return [leaf for inner in value.values() for leaf in leaves(inner)] if isinstance(value, dict) else [value]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_is_complete_and_in_its_own_words(language: str) -> None:
    ours, english = file_of(language), file_of("en")
    assert shape(ours) == shape(english)
    for text, model in zip(leaves(ours), leaves(english), strict=True):
        assert text.strip()
        assert is_storable(text)
        assert set(re.findall(r"\{[^}]*\}", text)) == set(re.findall(r"\{[^}]*\}", model))
        assert language == "en" or text.strip() != model.strip()


def test_there_is_a_file_for_every_language_and_no_other() -> None:
    folder = resources.files("end_conversation_tool._core.texts")
    assert {file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")} == set(
        LANGUAGES
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("category", CONDUCT)
def test_notice_and_statement_for_conduct_name_help(language: str, category: Category) -> None:
    texts = Texts(language, help_text="Call 123.")
    for told in (texts.notice(category), texts.statement(category), texts.statement(category, operator=True)):
        assert "Call 123." in told
        assert "{" not in told
        assert told == told.strip()
    neutral = file_of(language)["help"]
    assert neutral in Texts(language).notice(category)
    assert neutral in Texts(language).statement(category)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_user_asked_for_is_no_automated_decision(language: str) -> None:
    texts, ours = Texts(language), file_of(language)
    told = texts.statement(USER)
    assert ours["statement"]["by_choice"].strip() in told
    assert ours["statement"]["automated"].strip() not in told
    assert ours["statement"]["automated"].strip() in texts.statement(ABUSE)
    assert "{" not in texts.notice(USER)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("person", [{"operator": True}, {"reviewed": True}], ids=["operator", "reviewer"])
def test_what_a_person_decided_is_no_automated_decision(language: str, person: Any) -> None:
    texts, ours = Texts(language), file_of(language)["statement"]
    told = texts.statement(ABUSE, **person)
    assert ours["automated"] not in told
    assert ours["appeal"].strip() in told
    assert "{" not in told


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_occasion_has_its_own_text(language: str) -> None:
    texts = Texts(language)
    told = [texts.question, texts.still_here]
    for category in Category:
        told += [texts.notice(category), texts.statement(category)]
    told += [texts.statement(ABUSE, operator=True)]
    assert len(set(told)) == len(told) == 9
    assert texts.statement(ABUSE, operator=True) == texts.statement(HARM, operator=True)


def test_sentences_stand_apart_but_in_chinese() -> None:
    ours = file_of("en")["statement"]
    assert f"{ours['abuse']} {ours['automated'].strip()} " in Texts().statement(ABUSE)
    ours = file_of("zh")["statement"]
    assert f"{ours['abuse']}{ours['automated'].strip()}" in Texts("zh").statement(ABUSE)


@pytest.mark.parametrize(("given", "language"), [("pt-BR", "pt"), ("zh_CN", "zh"), ("EN", "en"), ("de-AT-1996", "de")])
def test_a_region_is_ignored(given: str, language: str) -> None:
    assert Texts(given).language == language


@pytest.mark.parametrize(
    ("language", "got"), [("xx", "'xx'"), ("", "''"), ("english", "'english'"), (5, "int"), (None, "NoneType")]
)
def test_another_language_is_refused(language: Any, got: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Texts(language)
    assert str(caught.value) == f"language: expected one of {', '.join(LANGUAGES)}, got {got}"


# The host's own words


def test_own_words_go_first_and_the_rest_is_ours() -> None:
    texts = Texts("fr", own={"notice": {ABUSE: "Our notice. {help}"}, "statement": {USER: "Bye."}})
    assert texts.notice(ABUSE) == "Our notice. {help}", "a host's words are told as they are"
    assert texts.statement(USER) == texts.statement(USER, operator=True) == "Bye."
    assert texts.notice(HARM) == Texts("fr").notice(HARM)
    assert texts.statement(ABUSE) == Texts("fr").statement(ABUSE)


def test_keys_may_be_plain_words() -> None:
    assert Texts(own={"notice": {"abuse": "Ours."}}).notice(ABUSE) == "Ours."  # type: ignore[dict-item]


def test_a_function_makes_them() -> None:
    texts = Texts(own=lambda occasion, category: f"{occasion} of {category}")
    assert texts.notice(ABUSE) == "notice of abuse"
    assert texts.statement(USER) == "statement of user_request"


def fails(_occasion: str, _category: Category) -> str:
    raise RuntimeError("secret")


@pytest.mark.parametrize(
    "own",
    [fails, lambda *_: None, lambda *_: "", lambda *_: " ", lambda *_: "x" * 2001, lambda *_: "\x00", lambda: "x"],
)
def test_where_a_function_fails_our_text_is_told(own: Any, caplog: pytest.LogCaptureFixture) -> None:
    texts = Texts("es", own=own)
    assert texts.notice(ABUSE) == Texts("es").notice(ABUSE)
    assert texts.statement(ABUSE) == Texts("es").statement(ABUSE)
    assert "the text of the package is told" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (5, "texts: expected a mapping or a function, got int"),
        ("words", "texts: expected a mapping or a function, got str"),
        ({"goodbye": {}}, "texts: expected the keys 'notice' and 'statement', got 'goodbye'"),
        ({"notice": "words"}, "texts.notice: expected a mapping from categories: abuse, "),
        ({"statement": {"rudeness": "x"}}, "texts.statement: expected a mapping from categories: abuse, "),
        ({"notice": {ABUSE: 5}}, "texts.notice.abuse: expected a str, got int"),
        ({"notice": {ABUSE: ""}}, "texts.notice.abuse: expected 1 to 2,000 characters, got 0"),
        ({"notice": {ABUSE: "  "}}, "texts.notice.abuse: expected 1 to 2,000 characters, got 2"),
        ({"notice": {ABUSE: "x" * 2001}}, "texts.notice.abuse: expected 1 to 2,000 characters, got 2,001"),
        ({"statement": {USER: "a\x00"}}, "texts.statement.user_request: a text with NUL or a lone surrogate"),
        ({"statement": {USER: "\ud800"}}, "texts.statement.user_request: a text with NUL or a lone surrogate"),
    ],
)
def test_unusable_words_are_named(own: Any, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Texts(own=own)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("help_text", ["", " ", 5, "x" * (MAX_TEXT_CHARS + 1), "\x00"])
def test_an_unusable_help_text_is_named(help_text: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^help_text: "):
        Texts(help_text=help_text)


def test_the_longest_words() -> None:
    assert Texts(own={"notice": {ABUSE: "x" * MAX_TEXT_CHARS}}).notice(ABUSE) == "x" * MAX_TEXT_CHARS
