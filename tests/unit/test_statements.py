"""What users are told, in which language, and who may change it."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.prompts import conversation_end
from end_conversation_tool._core.records import Category
from end_conversation_tool._core.statements import LANGUAGES, checked_statements, statement, told
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import InvalidInputError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry
from support.keywords import keyword_suite
from support.talk import Talk

SCRIPTS = {"hi": "DEVANAGARI", "ar": "ARABIC", "zh": "CJK"}


class Speaking(Talk):
    """A talk whose gate has options."""

    options: Any = {}  # noqa: RUF012

    @property
    def gate(self) -> Gate:
        return Gate(policy=self.policy, registry=self.registry, detectors=keyword_suite(), **self.options)


def ended(**options: Any) -> Talk:
    talk = Speaking(InMemorySealRegistry(), policy=EndConversationPolicy(confirmation_calls=1))
    talk.options = options
    talk.climbs()
    assert talk.ends().seal is not None
    return talk


def test_the_languages_of_the_detectors() -> None:
    assert LANGUAGES == ("en", "es", "fr", "de", "pt", "it", "hi", "ar", "zh", "pl", "nl", "id")


def test_no_text_is_said_twice() -> None:
    texts = [statement(category, language) for category in Category for language in LANGUAGES]
    assert len(set(texts)) == len(texts) == 36


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("category", list(Category))
def test_every_text_is_whole_and_in_its_script(language: str, category: Category) -> None:
    text = statement(category, language)
    assert text == text.strip() == unicodedata.normalize("NFC", text)
    assert text[-1] in ".。।"
    assert 50 < len(text) < 600
    letters = [unicodedata.name(char).split()[0] for char in text if char.isalpha()]
    assert set(letters) == {SCRIPTS.get(language, "LATIN")}


@pytest.mark.parametrize("language", ["pt-BR", "PT_br", "pt"])
def test_a_region_is_ignored(language: str) -> None:
    assert statement(Category.ABUSE, language) == statement(Category.ABUSE, "pt")


@pytest.mark.parametrize("language", ["xx", "", "english", 5, None, {}, {"abuse": "x"}])
def test_what_is_no_language_is_refused(language: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^language: expected"):
        checked_statements(language)


@pytest.mark.parametrize("text", ["", " ", "x" * 2_001, "a\x00", "\ud800", 5, None])
def test_texts_that_cannot_be_told_are_refused(text: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^language: "):
        checked_statements(dict.fromkeys(Category, text))
    with pytest.raises(InvalidInputError, match=r"^language: "):
        told(lambda _: text, Category.ABUSE)


def test_everybody_reads_the_language_of_the_door_that_sealed() -> None:
    talk = ended(language="de")
    seal = talk.registry.status("t").seal
    assert seal is not None
    assert conversation_end(seal)["statement"] == statement(Category.ABUSE, "de")
    with pytest.raises(ThreadSealedError) as caught:
        Gate(policy=talk.policy, registry=talk.registry, detectors=keyword_suite()).admit(talk.context)
    assert caught.value.statement == statement(Category.ABUSE, "de")


@pytest.mark.parametrize("language", [dict.fromkeys(Category, "Our own words."), lambda _: "Our own words."])
def test_a_host_has_its_own_words(language: Any) -> None:
    seal = ended(language=language).registry.status("t").seal
    assert seal is not None
    assert conversation_end(seal)["statement"] == "Our own words."


def test_a_function_that_fails_does_not_keep_the_end_from_being_told(caplog: pytest.LogCaptureFixture) -> None:
    seal = ended(language=lambda _: 1 / 0).registry.status("t").seal
    assert seal is not None
    assert conversation_end(seal)["statement"] == statement(Category.ABUSE)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("keep", "reason"), [(True, "why"), (False, "")])
def test_the_model_s_reason_is_kept_unless_the_host_does_not_want_it(keep: bool, reason: str) -> None:  # noqa: FBT001
    talk = ended(keep_reasons=keep)
    (record,) = talk.registry.decisions("t")
    seal = talk.registry.status("t").seal
    assert seal is not None
    assert record.reason == seal.record.reason == reason
