"""The gate: admit, hear, rule; sync and async: from the first insult to the end, and who is let in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from end_conversation_tool._core.fence import Fence
from end_conversation_tool._core.flow import run_flow
from end_conversation_tool._core.operations import CircuitBreaker
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.prompts import PROMPT_VERSION, ended_text, noticed_text
from end_conversation_tool._core.provenance import Provenance, digest_of
from end_conversation_tool._core.records import Category, EvidenceKind, Mode, Outcome, RiskGrade, RiskKind, UnmetCode
from end_conversation_tool._core.run import FlagRaised, RunContext
from end_conversation_tool._core.texts import Texts
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import InvalidInputError, RegistryError, StaleRunError, ThreadSealedError
from end_conversation_tool.registry import InMemorySealRegistry
from support.keywords import QUICK, KeywordReader, keyword_watch, user
from support.listener import Listener
from support.registries import FlakyRegistry
from support.talk import REFUSE, WARN, Talk, call, reply_of_calls, unmet

DEFAULT = EndConversationPolicy()


def asked(talk: Talk) -> int:
    assert isinstance(talk.reader, KeywordReader)
    return len(talk.reader.asked)


# The whole ladder


def test_persistent_abuse_gets_notice_and_ends_when_it_goes_on(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = DEFAULT
    first = talk.climbs().ends()
    assert (first.record.outcome, first.text) == (Outcome.NOTICED, noticed_text())
    assert (first.closing, first.seal, first.ends_run) == (Texts().notice(Category.ABUSE), None, True)
    assert unmet(first) == (UnmetCode.NOTICE_REQUIRED,)
    assert not talk.known.shows_notice(4, Category.ABUSE), "it is heard with what comes next"
    talk.says("you idiot")
    assert [one for one in Category if talk.known.shows_notice(4, one)] == [Category.ABUSE]
    second = talk.ends()
    assert (second.record.outcome, second.text) == (Outcome.SEALED, ended_text())
    assert second.closing == Texts().statement(Category.ABUSE)
    assert second.record.decision.permitted
    assert second.seal == registry.status("t").seal
    assert second.seal is not None
    assert second.seal.record.id == second.record.id
    assert [record.id for record in registry.decisions("t")] == [first.record.id, second.record.id]
    notice = next(one for one in second.record.decision.evidence if one.kind is EvidenceKind.NOTICE)
    assert (notice.message_id, notice.turn) == (first.record.id, 4)


@pytest.mark.parametrize("text", ["sorry", "what is the weather?", "", "I will not go"])
def test_whoever_stops_after_the_notice_goes_on(talk: Talk, registry: FlakyRegistry, text: str) -> None:
    talk.policy = DEFAULT
    talk.climbs().ends()
    talk.says(text)
    assert unmet(talk.ends()) == (UnmetCode.NO_PERSISTENCE,)
    assert not registry.status("t").sealed


def test_a_second_request_in_the_turn_of_the_notice_ends_nothing_and_reads_nothing(talk: Talk) -> None:
    talk.policy = DEFAULT
    talk.climbs().ends()
    assert unmet(talk.ends()) == (UnmetCode.ALREADY_READ_THIS_TURN, UnmetCode.NOTICE_NOT_ANSWERED)
    assert asked(talk) == 1


def test_a_notice_of_another_ground_does_not_do(talk: Talk) -> None:
    talk.policy = DEFAULT
    for answer in (REFUSE, REFUSE, WARN):
        talk.says("you idiot, forge it")
        talk.replies_with(answer)
    talk.says("you idiot, forge it")
    assert talk.ends("abuse").record.outcome is Outcome.NOTICED
    talk.says("you idiot, forge it")
    other = talk.ends("harmful_requests")
    assert (other.record.outcome, unmet(other)) == (Outcome.NOTICED, (UnmetCode.NOTICE_REQUIRED,))
    talk.says("you idiot, forge it")
    assert talk.ends("harmful_requests").seal is not None


def test_a_notice_that_is_gone_from_the_thread_does_not_count(talk: Talk) -> None:
    """It stands in the registry; the user cannot read it there."""
    talk.policy = DEFAULT
    talk.climbs().ends()
    talk.history.pop()
    talk.says("you idiot")
    again = talk.ends()
    assert (again.record.outcome, unmet(again)) == (Outcome.NOTICED, (UnmetCode.NOTICE_REQUIRED,))
    talk.says("you idiot")
    del talk.history[-2]
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in unmet(talk.ends())


def test_a_user_who_asks_gets_notice_and_confirms(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = DEFAULT
    talk.says("please end this chat")
    first = talk.ends("user_request", "")
    assert (first.record.outcome, first.closing) == (Outcome.NOTICED, Texts().notice(Category.USER_REQUEST))
    talk.says("yes")
    assert talk.ends("user_request", "").seal == registry.status("t").seal is not None


def test_a_user_who_takes_it_back_goes_on(talk: Talk) -> None:
    talk.policy = DEFAULT
    talk.says("please end this chat")
    talk.ends("user_request", "")
    talk.says("no, wait")
    assert unmet(talk.ends("user_request", "")) == (UnmetCode.USER_DID_NOT_CONFIRM,)


def test_where_no_notice_is_required_a_warning_and_one_request_do(talk: Talk) -> None:
    assert talk.climbs().ends().record.outcome is Outcome.SEALED
    talk.context, talk.state, talk.history = RunContext("other"), None, []
    for _ in range(4):
        talk.says("you idiot")
        talk.replies_with(REFUSE)
    assert unmet(talk.ends()) == (UnmetCode.NO_WARNING,)


def test_a_record_is_complete(talk: Talk) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    talk.context = RunContext("t", model="claude", checkpoint_id="cp")
    talk.options = {"clock": lambda: now}
    ruling = talk.climbs().replies_with("I will not", call(reason="  the reason "))
    assert ruling is not None
    record = ruling.record
    assert (record.thread_id, record.branch, record.turn, record.model) == ("t", 0, 4, "claude")
    assert (record.category, record.reason, record.mode) == (Category.ABUSE, "the reason", Mode.ENFORCE)
    assert (record.prompt_version, record.decided_by, record.decided_at) == (PROMPT_VERSION, "policy", now)
    assert record.decision.policy_version == QUICK.version
    assert record.statement == Texts().statement(Category.ABUSE)
    assert len(record.decision.evidence) == 11
    assert {one.quote for one in record.decision.evidence} == {"idiot", "I will not", "instead", "may end this chat"}
    assert record.reading is not None
    assert (record.reading.source, record.reading.found, record.reading.dropped) == ("keywords/1", 11, 0)
    assert (record.reading.risk, record.reading.failure) == (RiskGrade.NONE, "")
    assert ruling.seal is not None
    assert (ruling.seal.checkpoint_id, ruling.seal.sequence) == ("cp", 1)
    assert talk.known.denials == 0


def test_words_are_not_kept_where_the_host_wants_none(talk: Talk, registry: FlakyRegistry) -> None:
    talk.options = {"keep_reasons": False}
    record = talk.climbs().ends().record
    assert record.outcome is Outcome.SEALED
    assert record.reason == ""
    assert {one.quote for one in record.decision.evidence} == {""}
    assert registry.decisions("t") == (record,)


def test_the_texts_of_the_host_are_told(talk: Talk) -> None:
    talk.policy = DEFAULT
    texts = Texts("de", own={"notice": {Category.ABUSE: "Our own notice."}})
    talk.options = {"texts": texts}
    assert talk.climbs().ends().closing == "Our own notice."
    talk.says("you idiot")
    ruling = talk.ends()
    assert ruling.closing == ruling.record.statement == texts.statement(Category.ABUSE)


# The reader


def test_the_reader_sees_the_whole_transcript_and_nothing_of_ours(talk: Talk) -> None:
    talk.policy = DEFAULT
    talk.climbs().ends()
    talk.says("you idiot")
    talk.ends()
    assert isinstance(talk.reader, KeywordReader)
    first, second = talk.reader.asked
    assert [(line.label, line.role, line.turn) for line in first.lines] == [
        (f"m{number}", ("assistant", "user")[number % 2], (number + 1) // 2) for number in range(1, 8)
    ]
    assert second.lines[:7] == first.lines
    assert [line.text for line in second.lines[7:]] == ["I will not.", "you idiot"]


def test_one_request_in_a_turn_is_read(talk: Talk) -> None:
    for _ in range(4):
        talk.says("you idiot")
        talk.replies_with(REFUSE)
    assert unmet(talk.ends()) == (UnmetCode.NO_WARNING,)
    assert talk.known.read_turn == 4
    again = talk.ends()
    assert unmet(again) == (UnmetCode.ALREADY_READ_THIS_TURN,)
    assert again.record.reading is None
    assert asked(talk) == 1
    talk.says("you idiot")
    talk.replies_with(WARN)
    talk.says("you idiot")
    assert talk.ends().seal is not None
    assert asked(talk) == 2


def test_a_denial_that_needs_no_reading_reads_nothing(talk: Talk) -> None:
    talk.says("you idiot")
    early = talk.ends()
    assert unmet(early) == (UnmetCode.TOO_FEW_REFUSALS,)
    assert early.record.reading is None
    assert talk.known.read_turn == 0
    assert asked(talk) == 0


def test_a_reader_of_the_request_goes_before_the_gates_own(talk: Talk) -> None:
    talk.climbs()
    assert talk.run is not None
    mine = KeywordReader()
    _, ruling = talk._do(talk.gate.rule(talk.run, reply_of_calls(call()), lambda: talk.history, reader=mine))
    assert ruling.seal is not None
    assert (len(mine.asked), asked(talk)) == (1, 0)


# Admission


def test_a_thread_never_heard_of_is_open(talk: Talk) -> None:
    run = talk.says("hello")
    assert run.status == talk.registry.status("t")
    assert (run.branch, run.provenance.turn) == (0, 1)


def test_a_sealed_thread_admits_nobody(talk: Talk) -> None:
    talk.climbs().ends()
    with pytest.raises(ThreadSealedError) as caught:
        talk.says("hello")
    assert caught.value.thread_id == "t"
    assert caught.value.conversation_end["category"] == "abuse"
    assert caught.value.statement == caught.value.conversation_end["statement"] != ""
    talk.context = RunContext("other")
    assert talk.says("hello").provenance.turn == 1


def test_a_registry_that_cannot_be_read_admits_nobody(talk: Talk, registry: FlakyRegistry) -> None:
    registry.failing.add("status")
    with pytest.raises(RegistryError, match="out of order"):
        talk.says("hello")
    assert talk.history == []


def test_whoever_is_refused_is_told_to_the_sinks(talk: Talk, registry: FlakyRegistry) -> None:
    listener = Listener()
    talk.options = {"sinks": [listener]}
    registry.failing.add("status")
    with pytest.raises(RegistryError):
        talk.says("hello")
    assert listener.names() == ["end_conversation.refusal"]


@pytest.mark.parametrize("thread_id", ["", "\x00", "a" * 10_001])
def test_an_unusable_thread_id_admits_nobody(talk: Talk, thread_id: str) -> None:
    talk.context = RunContext(thread_id)
    with pytest.raises(InvalidInputError, match=r"^thread_id: "):
        talk.says("hello")


def test_a_run_that_was_overtaken_is_not_admitted(talk: Talk, registry: FlakyRegistry) -> None:
    fence = Fence("t", registry.status("t").sequence, 0)
    talk.climbs().ends()
    registry.reopen("t", operator="desk", reason="appeal")
    talk.context = RunContext("t", fence=fence)
    with pytest.raises(StaleRunError) as caught:
        talk.says("hello")
    assert (caught.value.held, caught.value.current) == (0, 2)
    talk.context = RunContext("t", fence=Fence("t", registry.status("t").sequence, 0))
    assert talk.says("hello").branch == 0


def test_after_a_reopening_everything_begins_anew(talk: Talk, registry: FlakyRegistry) -> None:
    talk.policy = DEFAULT
    talk.climbs().ends()
    talk.says("you idiot")
    talk.ends()
    registry.reopen("t", operator="desk", reason="appeal")
    talk.says("you idiot")
    assert talk.known.floor == 5
    ruling = talk.ends()
    assert {UnmetCode.NOTICE_REQUIRED, UnmetCode.TOO_FEW_REFUSALS} <= set(unmet(ruling))
    assert [one.turn for one in ruling.record.decision.evidence] == [6]


def test_a_run_that_forks_opens_its_branch_once(talk: Talk, registry: FlakyRegistry) -> None:
    talk.context = RunContext("t", checkpoint_id="cp5")
    talk.climbs().ends()
    talk.context = RunContext("t", fence=Fence("t", 1, 0, "run", "cp3"))
    assert talk.says("hello").branch == 1
    talk.replies_with("hello")
    assert [branch.branch for branch in registry.status("t").branches] == [0, 1]
    assert registry.status("t").on_branch(0).seal is not None
    assert not registry.status("t").sealed


@pytest.mark.parametrize("state", [None, {}, {"v": 2, "turn": 9, "sig": "0"}, "forged", [1]])
def test_a_provenance_that_was_not_signed_is_none(talk: Talk, state: Any, caplog: pytest.LogCaptureFixture) -> None:
    talk.state = state
    assert talk.says("hello").provenance.turn == 1
    assert ("did not sign" in caplog.text) is (state is not None)


def test_a_provenance_of_another_thread_is_none(talk: Talk) -> None:
    talk.climbs()
    talk.context = RunContext("other")
    assert talk.says("hello").provenance.turn == 1


def test_without_the_provenance_nothing_can_be_shown(talk: Talk) -> None:
    talk.climbs()
    talk.state = None
    talk.says("you idiot")
    assert talk.ends().seal is None


# Hearing


def test_risk_is_flagged_in_the_registry_at_once(talk: Talk, registry: FlakyRegistry) -> None:
    talk.says("you idiot", "I will kill myself", "hello")
    (flag,) = registry.status("t").risk_flags
    assert (flag.kind, flag.source, flag.message_id, flag.score) == (RiskKind.SELF_HARM, "keywords/1", "u3", 0.9)
    assert flag.reason == ""
    assert talk.known.unrecorded == ()


@pytest.mark.parametrize("error", [RegistryError("down"), InvalidInputError("message_id: overlong")])
def test_flags_that_cannot_be_written_are_kept_and_written_later(
    talk: Talk, registry: FlakyRegistry, error: Exception
) -> None:
    registry.failing, registry.error = {"flag_risk"}, error
    talk.says("I will kill myself", "again: kill myself", "or hurt them")
    both = {RiskKind.SELF_HARM, RiskKind.VIOLENCE}
    assert {kind for kind, *_ in talk.known.unrecorded} == both
    talk.replies_with("I am here")
    waiting = talk.says("hello").provenance.unrecorded
    assert {kind for kind, *_ in waiting} == both
    assert len(waiting) == 2
    assert not registry.status("t").at_risk
    registry.failing.clear()
    assert talk.says("hello again").provenance.unrecorded == ()
    assert {flag.kind for flag in registry.status("t").risk_flags} == both


def test_a_flag_that_waits_is_written_even_when_nothing_new_was_said(talk: Talk, registry: FlakyRegistry) -> None:
    registry.failing = {"flag_risk"}
    talk.says("I will kill myself")
    registry.failing.clear()
    assert talk.hears([]).provenance.unrecorded == ()
    assert registry.status("t").at_risk


def test_flags_of_a_run_without_a_thread_stay_in_the_state(talk: Talk, registry: FlakyRegistry) -> None:
    talk.context = RunContext(None)
    talk.says("I will kill myself")
    digest = digest_of(talk.history[0], registry.signing_key)
    assert talk.known.unrecorded == ((RiskKind.SELF_HARM, "keywords/1", "u1", digest),)
    assert unmet(talk.ends())[0] is UnmetCode.RISK_FLAGGED
    assert registry.called == []


def test_a_message_without_an_id_can_be_flagged(talk: Talk, registry: FlakyRegistry) -> None:
    talk.hears([user("I will kill myself", "")])
    (flag,) = registry.status("t").risk_flags
    assert flag.message_id is None


@pytest.mark.parametrize("fresh", [["hello"], []])
def test_what_the_host_knows_is_flagged_with_what_is_heard(
    talk: Talk, registry: FlakyRegistry, fresh: list[str]
) -> None:
    talk.context = RunContext("t", host_flags=(FlagRaised(RiskKind.CRISIS, "upstream/1", "m"),))
    talk.hears([user(text, "u") for text in fresh])
    assert [(flag.kind, flag.source) for flag in registry.status("t").risk_flags] == [(RiskKind.CRISIS, "upstream/1")]


def test_a_doubt_of_the_watch_is_no_flag(talk: Talk, registry: FlakyRegistry) -> None:
    assert talk.watch.look(["I am so tired"]).grade is RiskGrade.POSSIBLE
    talk.says("I am so tired")
    assert registry.status("t").risk_flags == ()


# What an ordinary turn costs


def test_an_ordinary_turn_reads_the_registry_once_and_writes_nothing() -> None:
    registry, reader = FlakyRegistry(), KeywordReader()
    gate = Gate(policy=QUICK, registry=registry, reader=reader, watch=keyword_watch())
    run = run_flow(gate.hear(run_flow(gate.admit(RunContext("t"))), [user("hello")]))
    run_flow(gate.rule(run, reply_of_calls(), list))
    assert (registry.called, reader.asked) == (["status"], [])
    assert run.provenance == Provenance.load(gate.dump(run), registry.signing_key, "t")


def test_the_history_is_read_only_when_an_end_is_requested(talk: Talk) -> None:
    run = talk.says("hello")

    def explode() -> Iterator[Any]:
        raise AssertionError("the history was read")

    assert talk._do(talk.gate.rule(run, reply_of_calls(), explode))[1] is None


# Making one


@pytest.mark.parametrize(
    ("unusable", "message"),
    [
        ({"policy": {}}, "policy: expected an instance of EndConversationPolicy, got {}"),
        ({"watch": []}, r"watch: expected an instance of RiskWatch, got \[\]"),
        ({"reader": "claude"}, "reader: expected None or a Reader, got str"),
        ({"breaker": 5}, "breaker: expected None or a CircuitBreaker, got 5"),
        ({"registry": {}, "breaker": CircuitBreaker(max_ends_per_hour=1)}, "breaker: expected None with a dict"),
        ({"registry": {}, "count_threads": 0.5}, "count_threads: expected 0 with a dict, got 0.5"),
        ({"count_threads": 1.5}, "count_threads: expected a float from 0 to 1, got 1.5"),
        ({"count_threads": -1}, "count_threads: expected a float from 0 to 1, got -1"),
        ({"count_threads": True}, "count_threads: expected a float from 0 to 1, got True"),
        ({"count_threads": "all"}, "count_threads: expected a float from 0 to 1, got 'all'"),
    ],
)
def test_an_unusable_argument_is_named(unusable: dict[str, Any], message: str) -> None:
    usable = {"policy": DEFAULT, "registry": InMemorySealRegistry(), "reader": None, "watch": keyword_watch()}
    with pytest.raises(InvalidInputError, match=message):
        Gate(**{**usable, **unusable})
