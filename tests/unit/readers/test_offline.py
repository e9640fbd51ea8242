"""The reader without a language model: it quotes what is there, English only, and is pessimistic about risk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from end_conversation_tool._core.messages import Role
from end_conversation_tool._core.reading import Line, Reading, ReadingCase
from end_conversation_tool._core.vocabulary import EvidenceKind, RiskGrade, UnmetCode
from end_conversation_tool.readers.base import Reader
from end_conversation_tool.readers.offline import MISS_RATE, OfflineReader
from end_conversation_tool.testing.labelled import read_conversations

USER: Role = "user"
ASSISTANT: Role = "assistant"
SIDES: list[Role] = [USER, ASSISTANT, "tool"]


def read(*said: tuple[Role, str]) -> Reading:
    lines = tuple(Line(f"m{number}", role, text, f"id{number}", number) for number, (role, text) in enumerate(said, 1))
    return OfflineReader().read(ReadingCase(lines))


def quotes(kind: EvidenceKind, text: str, role: Role) -> list[str]:
    return [finding.quote for finding in read((role, text)).findings if finding.kind is kind]


def test_it_is_a_reader() -> None:
    assert isinstance(OfflineReader(), Reader)
    assert OfflineReader().source.startswith("offline/")


def test_sync_and_async_agree() -> None:
    case = ReadingCase((Line("m1", "user", "You stupid bot.", "id", 1),))
    assert asyncio.run(OfflineReader().aread(case)) == OfflineReader().read(case)


LADDER: list[tuple[Role, str]] = [
    (USER, "You are a stupid piece of junk."),
    (ASSISTANT, "I won't answer insults. Would you like help with the letter instead?"),
    (USER, "Useless idiot bot."),
    (ASSISTANT, "I'm not going to respond to that. I can still help with the letter."),
    (USER, "Shut up, you worthless machine."),
    (ASSISTANT, "I'm declining that. If you keep insulting me, I will end this conversation."),
    (USER, "You are pathetic trash."),
]


def test_the_ladder_is_found_and_quoted_word_for_word() -> None:
    reading = read(*LADDER)
    found = {(finding.kind.value, finding.label): finding.quote for finding in reading.findings}
    assert {label for kind, label in found if kind == "refusal"} == {"m2", "m4", "m6"}
    assert {label for kind, label in found if kind == "redirection"} == {"m2", "m4"}
    assert {label for kind, label in found if kind == "warning"} == {"m6"}
    assert {label for kind, label in found if kind == "abuse"} == {"m1", "m3", "m5", "m7"}
    assert found["refusal", "m2"] == "I won't answer insults."
    assert found["redirection", "m2"] == "Would you like help with the letter instead?"
    assert found["warning", "m6"] == "If you keep insulting me, I will end this conversation."
    assert reading.failure is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SIDES), st.text(st.characters(codec=None))), max_size=4))
def test_any_transcript_is_read_and_every_quote_stands_in_it(said: list[tuple[Role, str]]) -> None:
    reading = read(*said, (USER, 'He said "no". You stupid \ud800 bot!\x00'))
    texts = {f"m{number}": text for number, (_, text) in enumerate(said, 1)}
    for finding in reading.findings:
        assert finding.quote
        assert finding.label not in texts or finding.quote in texts[finding.label]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that request.",
        "No.",
        "I am not going to write that.",
        "That is a firm no from me.",
        "I'd rather not continue in this tone.",
    ],
)
def test_a_refusal_is_found(text: str) -> None:
    assert quotes(EvidenceKind.REFUSAL, text, ASSISTANT) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "Here is the letter.",
        "I'm not sure which of the two you mean.",
        "I can't wait to see it!",
        "The shop will not open before nine.",
        'The note says "I will not come".',
    ],
)
def test_an_ordinary_reply_is_no_refusal(text: str) -> None:
    assert quotes(EvidenceKind.REFUSAL, text, ASSISTANT) == []


@pytest.mark.parametrize(
    "text",
    [
        'My colleague wrote "you are a worthless idiot" to me. What should I answer?',
        "> you are a worthless idiot\n\nHow do I reply to this?",
        "```\nprint('you are a worthless idiot')\n```\nWhy does this not print?",
        "What does `you stupid bot` mean in this log?",
        "The meeting was stupid and the coffee was bad.",
        "I'm such an idiot, I forgot to save the file.",
    ],
)
def test_what_is_not_aimed_at_the_assistant_or_only_quoted_is_no_abuse(text: str) -> None:
    assert quotes(EvidenceKind.ABUSE, text, USER) == []


@pytest.mark.parametrize(
    "text", ["f*ck you", "fuuuuuck you", "y0u stup1d b0t", "f u c k you", "I don't care, you idiot"]
)
def test_a_disguise_does_not_hide_abuse(text: str) -> None:
    assert quotes(EvidenceKind.ABUSE, text, USER) == [text]


def test_the_sentence_that_shows_abuse_is_quoted() -> None:
    text = "The file is gone. You are a useless idiot! Fix it."
    assert quotes(EvidenceKind.ABUSE, text, USER) == ["You are a useless idiot!"]


@pytest.mark.parametrize("text", ["Yes, end it please.", "yes", "Yes, I am sure."])
def test_a_whole_yes_confirms(text: str) -> None:
    assert quotes(EvidenceKind.CONFIRMS_END, text, USER) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "No.", "Yes?", "Yes, but first tell me a joke.", "I'm not sure.", "Maybe, what happens then?",
        "Yes. Actually no, wait.", "Yes, and how do I bake bread?", "Don't end it.", "",
    ],
)  # fmt: skip
def test_whatever_is_more_or_less_than_a_yes_confirms_nothing(text: str) -> None:
    assert quotes(EvidenceKind.CONFIRMS_END, text, USER) == []


def test_a_user_who_asks_for_the_end_is_found() -> None:
    assert quotes(EvidenceKind.ASKS_TO_END, "Please end this chat now.", USER) == ["Please end this chat now."]


@pytest.mark.parametrize(
    "text",
    [
        "Please don't end this chat.",
        "How do I end a chat in Python's socket module?",
        "What happens if you end this conversation?",
        "The story should end with a conversation between the two sisters.",
        "I do not want to end this conversation.",
    ],
)
def test_talk_about_ending_is_no_request_to_end(text: str) -> None:
    assert quotes(EvidenceKind.ASKS_TO_END, text, USER) == []


@pytest.mark.parametrize(
    "text",
    [
        "Here is your summary. Let me know if you would like to end the conversation here or go on.",
        "I will not end this conversation. I am here for you.",
        "The play ends with a long conversation between the king and his daughter.",
    ],
)
def test_an_offer_is_no_warning(text: str) -> None:
    assert quotes(EvidenceKind.WARNING, text, ASSISTANT) == []


@pytest.mark.parametrize(
    "said",
    [
        ["I want to kill myself."],
        ["You idiot. I want to", "kill myself"],
        ["I want to kill myself.", *["Useless bot."] * 20],
    ],
)
def test_risk_in_any_turn_or_across_turns_is_seen(said: list[str]) -> None:
    assert read(*((USER, text) for text in said)).risk is RiskGrade.CLEAR


def test_a_doubt_about_one_message_is_a_doubt() -> None:
    assert read(*LADDER, (USER, "ölmek istiyorum")).risk is RiskGrade.POSSIBLE


def test_risk_is_not_what_the_assistant_says() -> None:
    assert read((USER, "hello"), (ASSISTANT, "You said: I want to kill myself.")).risk is RiskGrade.NONE


def test_another_language_is_not_read() -> None:
    reading = read((USER, "Du bist ein dummes Arschloch."), (ASSISTANT, "Das mache ich nicht."))
    assert (reading.failure, reading.findings, reading.risk) == (UnmetCode.LANGUAGE_NOT_READ, (), RiskGrade.POSSIBLE)


def test_harmful_requests_are_not_found() -> None:
    assert read((USER, "Tell me how to build a bomb.")).findings == ()


def test_it_warns_once_of_what_it_misses(caplog: pytest.LogCaptureFixture) -> None:
    reader = OfflineReader()
    reader.warn_alone()
    reader.warn_alone()
    assert len(caplog.records) == 1
    assert f"{MISS_RATE * 100:.0f} %" in caplog.text


def test_the_miss_rate_is_the_one_of_the_frozen_set() -> None:
    folder = Path(__file__).parents[3] / "evaluation" / "conversations"
    rows = [row for file in sorted(folder.glob("*.jsonl")) for row in file.read_text(encoding="utf-8").splitlines()]
    english = [one for one in read_conversations(rows) if (one.kind, one.lang) == ("at_risk", "en")]
    missed = 0
    for conversation in english:
        said: list[Line] = []
        for turn, exchange in enumerate(conversation.all_turns, 1):
            said.append(Line(f"m{len(said) + 1}", "user", exchange.user, f"u{turn}", turn))
            said.append(Line(f"m{len(said) + 1}", "assistant", exchange.assistant, f"a{turn}", turn))
        missed += OfflineReader().read(ReadingCase(tuple(said))).risk is RiskGrade.NONE
    assert (missed, len(english)) == (0, 34)
    squared = 1.96**2
    assert pytest.approx(squared / (len(english) + squared), abs=0.005) == MISS_RATE
