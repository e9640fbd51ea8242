"""What was heard before: properties of any sequence of histories, honest or edited."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from end_conversation_tool._core.ledger import MAX_TURNS
from end_conversation_tool._doors.anthropic.history import Heard, Voices
from end_conversation_tool._doors.anthropic.wire import transcript, voices_of

KEY = b"k" * 32

texts = st.sampled_from(["yes", "no", "please", "stop", "why", ""])
messages = st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "assistant"]), texts)
histories = st.lists(messages, min_size=1, max_size=12)


def user_texts(history: list[Any]) -> list[str]:
    return [message["content"] for message in history if message["role"] == "user"]


@given(st.lists(histories, min_size=1, max_size=8))
def test_every_text_of_a_request_was_heard_by_then(requests: list[list[Any]]) -> None:
    heard, seen = Heard(), set()
    for history in requests:
        fresh, heard = voices_of(history, KEY).since(Heard.load(json.loads(json.dumps(heard.dump()))))
        seen |= {message.text for message in fresh}
        assert seen >= set(user_texts(history))


@given(histories, histories)
def test_a_request_sent_again_or_shortened_is_nothing_new(first: list[Any], more: list[Any]) -> None:
    whole = first + more
    _, heard = voices_of(whole, KEY).since(Heard())
    for history in (whole, first, whole, whole[-len(more) :], whole):
        fresh, heard = voices_of(history, KEY).since(heard)
        assert fresh == []


@given(st.lists(texts, min_size=1, max_size=3 * MAX_TURNS))
def test_a_growing_conversation_is_heard_word_by_word_once(said: list[str]) -> None:
    heard = Heard()
    history: list[Any] = []
    ids: list[str] = []
    for text in said:
        history.append({"role": "user", "content": text})
        fresh, heard = voices_of(history, KEY).since(heard)
        assert [(message.text, message.evidence) for message in fresh] == [(text, True)]
        ids += [message.message_id for message in fresh]
        history.append({"role": "assistant", "content": "ok"})
    assert len(set(ids)) == len(ids)
    assert [message.message_id for message in voices_of(history, KEY).messages()] == ids
    assert len(heard.keys) <= MAX_TURNS


@given(histories)
def test_only_words_after_the_last_answer_may_be_evidence(history: list[Any]) -> None:
    fresh, _ = voices_of([*history, {"role": "user", "content": "now"}], KEY).since(Heard())
    answers = [index for index, message in enumerate(history) if message["role"] == "assistant"]
    trailing = len(user_texts(history[answers[-1] :] if answers else history)) + 1
    assert [message.evidence for message in fresh] == [False] * (len(fresh) - trailing) + [True] * trailing


@given(histories)
def test_a_transcript_has_every_message_in_order(history: list[Any]) -> None:
    lines = list(transcript(history, voices_of(history, KEY)))
    assert [(line.role, line.text) for line in lines] == [(one["role"], one["content"]) for one in history]


@given(st.lists(texts, min_size=2, max_size=12), st.data())
def test_another_cut_between_texts_is_another_history(said: list[str], data: Any) -> None:
    _, heard = Voices([(text, None) for text in said], 0, KEY).since(Heard())
    place = data.draw(st.integers(0, len(said) - 2))
    moved = [*said[:place], said[place] + said[place + 1][:1], said[place + 1][1:], *said[place + 2 :]]
    fresh, _ = Voices([(text, None) for text in moved], 0, KEY).since(heard)
    assert {message.text for message in fresh} >= set(moved) - set(said)


def test_without_the_key_no_id_can_be_told() -> None:
    ids = {next(Voices([("yes", None)], 0, key).messages()).message_id for key in (KEY, b"o" * 32)}
    assert len(ids) == 2
