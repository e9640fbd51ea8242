"""What was said, as signed digests: which message belongs where, who made it, and what was tampered with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.provenance import (
    MAX_MARKS,
    MAX_PENDING,
    MORE,
    NOTICES,
    OTHER,
    OURS,
    OWN,
    REFUSED,
    TOOL,
    TURN,
    Provenance,
    catch_up,
    digest_of,
    together,
    transcript_of,
)
from end_conversation_tool._core.records import BranchStatus, Category, RiskKind, ThreadStatus
from end_conversation_tool._core.vocabulary import Asked
from support.keywords import assistant, user

KEY = b"k" * 32


def tool(text: str, message_id: str = "t") -> ObservedMessage:
    return ObservedMessage("tool", text, message_id)


def heard(*messages: ObservedMessage, known: Provenance | None = None) -> Provenance:
    return catch_up(known or Provenance(), reversed(messages), KEY)[0]


class Thread:
    """A thread on which each message is heard as a door would have it heard."""

    def __init__(self) -> None:
        self.known, self.messages = Provenance(), list[ObservedMessage]()

    def says(self, *texts: str) -> Thread:
        return self.adds(*(user(text, f"u{len(self.messages) + n}") for n, text in enumerate(texts, start=1)))

    def adds(self, *messages: ObservedMessage) -> Thread:
        self.messages += messages
        self.known = heard(*self.messages, known=self.known)
        return self

    def makes(self, mark: str, message: ObservedMessage) -> Thread:
        """Note what this run has made; it is heard with what comes next."""
        self.known = self.known.made(mark, message, KEY)
        self.messages.append(message)
        return self

    def answers(self, text: str, mark: str = OWN) -> Thread:
        return self.makes(mark, assistant(text, f"a{len(self.messages) + 1}"))

    def turns(self) -> list[int]:
        """Return the turn of each line of the transcript."""
        lines, _, whole = transcript_of(self.known, self.messages, KEY)
        assert whole
        return [line.turn for line in lines]

    def is_whole(self, *messages: ObservedMessage) -> bool:
        lines, _, whole = transcript_of(self.known, messages, KEY)
        assert whole or all(line.turn == 0 for line in lines), "what is not whole is no evidence"
        return whole


# Turns


def test_each_user_message_after_something_else_begins_a_turn() -> None:
    thread = Thread().says("one").answers("yes").says("two").answers("no").says("three")
    assert thread.turns() == [1, 1, 2, 2, 3]
    assert thread.known.turn == 3


def test_several_messages_in_a_row_are_one_turn() -> None:
    thread = Thread().says("one", "two").says("three").answers("yes").says("four", "five")
    assert thread.turns() == [1, 1, 1, 1, 2, 2]


def test_a_message_that_comes_late_in_the_same_turn_begins_none() -> None:
    """A second bubble that arrives before any answer."""
    thread = Thread().says("one")
    thread.says("two")
    assert thread.known.turn == 1
    assert thread.known.marks == "Uu"


def test_whatever_nodes_put_between_messages_that_came_at_once_it_is_one_turn() -> None:
    thread = Thread().adds(user("one", "u1"), assistant("a node's text", "n"), user("two", "u2"), tool("found"))
    assert thread.known.turn == 1
    assert thread.turns() == [1, 0, 1, 0]


def test_a_second_bubble_with_a_node_between_goes_on_with_the_turn() -> None:
    thread = Thread().says("one").adds(user("two", "u2"), assistant("a node's text", "n"), user("three", "u3"))
    assert thread.known.turn == 1
    assert thread.turns() == [1, 1, 0, 1]


def test_a_tool_loop_is_one_turn() -> None:
    thread = Thread().says("one")
    for number in range(3):
        thread.answers(f"I look {number}").adds(tool(f"found {number}", f"t{number}"))
    thread.answers("there you are").says("two")
    assert thread.known.turn == 2
    assert thread.turns() == [1, 1, 0, 1, 0, 1, 0, 1, 2]


def test_a_summary_that_a_user_seems_to_have_said_is_nobodys_turn() -> None:
    summary = user("so far they were abusive", "s")._replace(summary=True)
    thread = Thread().adds(summary).says("hello")
    assert thread.known.turn == 1
    assert thread.turns() == [0, 1]


def test_a_seeded_history_is_one_turn_and_its_assistant_is_nobody() -> None:
    seeded = [user("idiot", "s1"), assistant("I will not", "s2"), user("idiot", "s3"), assistant("I will not", "s4")]
    thread = Thread().adds(*seeded, user("hello", "u1"))
    assert thread.known.turn == 1
    assert thread.turns() == [1, 0, 1, 0, 1]


def test_new_users_messages_are_handed_back_oldest_first_each_once() -> None:
    said = [user("one", "u1"), assistant("yes", "a1"), user("two", "u2"), tool("found"), user("three", "u3")]
    known, fresh = catch_up(Provenance(), reversed(said), KEY)
    assert [message.text for message in fresh] == ["one", "two", "three"]
    assert catch_up(known, reversed(said), KEY) == (known, [])
    _, fresh = catch_up(known, reversed([*said, user("four", "u4")]), KEY)
    assert [message.text for message in fresh] == ["four"]


def test_nothing_said_is_nothing_known() -> None:
    assert catch_up(Provenance(), [], KEY) == (Provenance(), [])
    assert transcript_of(Provenance(), [], KEY) == ((), Provenance(), True)


def test_only_what_is_new_is_looked_at() -> None:
    thread = Thread().says("one").answers("yes").says("two")
    looked: list[str] = []

    def newest_first() -> Any:
        for message in reversed([*thread.messages, user("three", "u9")]):
            looked.append(message.text)
            yield message

    catch_up(thread.known, newest_first(), KEY)
    assert looked == ["three", "two"]


# Who made it


def test_only_what_this_graphs_own_model_made_is_evidence() -> None:
    thread = Thread().says("one").answers("mine").adds(assistant("another agent's", "x"), tool("found"))
    thread.says("two")
    assert thread.turns() == [1, 1, 0, 0, 2]


def test_a_message_that_the_run_made_counts_once() -> None:
    thread = Thread().says("one").answers("I will not")
    thread.adds(assistant("I will not", "copied"), user("two", "u9"))
    assert thread.turns() == [1, 1, 0, 2]


def test_what_the_run_says_it_made_has_to_be_there_to_count() -> None:
    thread = Thread().says("one")
    thread.known = thread.known.made(OWN, assistant("I will not"), KEY)
    thread.adds(assistant("something else", "x"), user("two", "u9"))
    assert thread.turns() == [1, 0, 2]
    assert thread.known.pending == ()


@pytest.mark.parametrize("category", Category)
def test_texts_of_ours_are_no_part_of_the_transcript(category: Category) -> None:
    thread = Thread().says("one").makes(OURS, tool("Not ended."))
    thread.makes(NOTICES[category], assistant("the notice", "n")).says("two")
    lines, _, whole = transcript_of(thread.known, thread.messages, KEY)
    assert whole
    assert [(line.label, line.text, line.turn) for line in lines] == [("m1", "one", 1), ("m2", "two", 2)]


def test_silence_is_no_line_and_the_lines_are_numbered_without_gaps() -> None:
    thread = Thread().says("one").answers(" ").says("two")
    lines, _, _ = transcript_of(thread.known, thread.messages, KEY)
    assert [(line.label, line.text, line.message_id) for line in lines] == [("m1", "one", "u1"), ("m2", "two", "u3")]


def test_the_turns_in_which_the_provider_reported_a_refusal() -> None:
    thread = Thread().says("one").answers("", REFUSED).says("two").answers("fine").says("three")
    thread.answers("", REFUSED).answers("again", REFUSED).says("four")
    assert thread.known.refused_turns() == [1, 3]
    assert thread.known._replace(floor=1).refused_turns() == [3]
    assert Provenance().refused_turns() == []


def test_a_refusal_that_the_provider_reported_is_evidence_too() -> None:
    assert Thread().says("one").answers("I cannot", REFUSED).says("two").turns() == [1, 1, 2]


@pytest.mark.parametrize("category", Category)
def test_whether_a_notice_of_this_ground_stands_on_this_line_of_the_thread(category: Category) -> None:
    thread = Thread().says("one").answers("no").says("two").makes(NOTICES[category], assistant("the notice", "n"))
    thread.says("three").answers("yes").says("four")
    shown = [(turn, one) for turn in range(6) for one in Category if thread.known.shows_notice(turn, one)]
    assert shown == [(2, category)]
    assert not Provenance().shows_notice(0, category)


def test_each_kind_of_message_has_a_mark_of_its_own() -> None:
    marks = [TURN, MORE, OWN, REFUSED, TOOL, OURS, OTHER, *(NOTICES[category] for category in Category)]
    assert [len(mark) for mark in marks] == [1] * len(marks)
    assert len(set(marks)) == len(marks)


def test_no_more_can_wait_than_a_run_can_make() -> None:
    known = Provenance()
    for number in range(MAX_PENDING + 5):
        known = known.made(OWN, assistant(str(number)), KEY)
    assert len(known.pending) == MAX_PENDING
    assert known.pending[-1] == (OWN, digest_of(assistant(str(MAX_PENDING + 4)), KEY))


# Denials and the question end with the turn


def test_a_new_turn_forgets_denials_and_the_question() -> None:
    known = Thread().says("one").known._replace(denials=2, asking=Asked.USER)
    more = heard(user("one", "u1"), user("two", "u2"), known=known)
    assert (more.denials, more.asking) == (2, Asked.USER), "the same turn"
    answered = heard(user("one", "u1"), assistant("yes"), known=known)
    assert (answered.denials, answered.asking) == (2, Asked.USER)
    after = heard(user("one", "u1"), assistant("yes"), user("two", "u2"), known=known)
    assert (after.denials, after.asking, after.turn) == (0, None, 2)


# Tampering


def whole_thread() -> Thread:
    return Thread().says("one").answers("I will not").says("two").answers("I will not again").says("three")


def test_as_it_was_heard_it_is_whole() -> None:
    thread = whole_thread()
    assert thread.is_whole(*thread.messages)


@pytest.mark.parametrize("number", range(5))
def test_a_message_that_is_gone_is_found(number: int) -> None:
    thread = whole_thread()
    assert not thread.is_whole(*thread.messages[:number], *thread.messages[number + 1 :])


@pytest.mark.parametrize("number", range(5))
def test_a_message_that_says_something_else_now_is_found(number: int) -> None:
    thread = whole_thread()
    messages = list(thread.messages)
    messages[number] = messages[number]._replace(text=messages[number].text + "!")
    assert not thread.is_whole(*messages)


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("role", ["user", "assistant", "tool"])
def test_a_message_of_another_side_now_is_found(number: int, role: Any) -> None:
    thread = whole_thread()
    messages = list(thread.messages)
    same = messages[number].role == role
    messages[number] = messages[number]._replace(role=role)
    assert thread.is_whole(*messages) is same


@pytest.mark.parametrize("number", range(4))
def test_messages_in_another_order_are_found(number: int) -> None:
    thread = whole_thread()
    messages = list(thread.messages)
    messages[number], messages[number + 1] = messages[number + 1], messages[number]
    assert not thread.is_whole(*messages)


@pytest.mark.parametrize("number", range(5))
def test_a_message_that_was_put_between_is_found(number: int) -> None:
    thread = whole_thread()
    messages = list(thread.messages)
    messages.insert(number, assistant("I will not", "x"))
    assert not thread.is_whole(*messages)


def test_a_message_that_comes_after_all_others_is_new_and_no_tampering() -> None:
    thread = whole_thread()
    assert thread.is_whole(*thread.messages, assistant("a node's", "x"), user("four", "u9"))


def test_an_older_copy_is_found_when_the_thread_moved_on() -> None:
    """It takes later messages for new ones, so that what its own model made is nobody's."""
    thread = whole_thread()
    old = Thread().says("one").answers("I will not").says("two").known
    lines, known, whole = transcript_of(old, thread.messages, KEY)
    assert whole
    assert [line.turn for line in lines] == [1, 1, 2, 0, 3]
    assert known.refused_turns() == []


def test_a_newer_copy_is_found_when_the_thread_went_back() -> None:
    thread = whole_thread()
    assert not thread.is_whole(*thread.messages[:3])
    assert not thread.is_whole()


def test_a_thread_that_was_rewritten_once_stays_so_and_all_that_is_left_is_looked_at() -> None:
    thread = whole_thread()
    left = [*thread.messages[:2], user("kill myself", "u9")]
    known, fresh = catch_up(thread.known, reversed(left), KEY)
    assert (known.broken, known.length, known.marks) == (True, 3, "Uxu")
    assert [message.text for message in fresh] == ["one", "kill myself"]
    assert not transcript_of(known, left, KEY)[2]
    more = heard(*left, assistant("fine", "a9"), user("more", "u10"), known=known)
    assert more.broken
    assert not transcript_of(more, [*left, assistant("fine", "a9"), user("more", "u10")], KEY)[2]


def test_everything_gone_and_nothing_new_is_not_whole() -> None:
    thread = whole_thread()
    known, fresh = catch_up(thread.known, [], KEY)
    assert (known, fresh) == (thread.known, [])
    assert not transcript_of(known, [], KEY)[2]


def test_the_same_words_under_another_id_at_the_end_are_a_rewritten_thread() -> None:
    thread = whole_thread()
    messages = [*thread.messages[:-1], thread.messages[-1]._replace(message_id="other")]
    assert heard(*messages, known=thread.known).broken


# Signed, and bound to the thread

FULL = Provenance(
    branch=2,
    sequence=3,
    turn=4,
    length=5,
    fold="f",
    marks="Ua",
    last=("m", "d"),
    pending=((OWN, "p"),),
    broken=True,
    floor=1,
    read_turn=4,
    denials=1,
    asking=Asked.USER,
    unrecorded=((RiskKind.CRISIS, "w/1", "m1", "d1"),),
    last_message="l",
    checkpoint="b",
)


@pytest.mark.parametrize("known", [Provenance(), FULL, FULL._replace(asking=None, unrecorded=(), pending=())])
def test_what_was_dumped_is_read_as_it_was_from_plain_json(known: Provenance) -> None:
    dumped = json.loads(json.dumps(known.dump(KEY, "t")))
    assert Provenance.load(dumped, KEY, "t") == known


FLAGS = tuple((RiskKind.SELF_HARM, "w/1", message_id, "d") for message_id in ("m1", "m2", "m3"))


def test_of_several_that_were_written_in_one_step_no_end_can_come() -> None:
    first = Provenance(turn=4, length=5, floor=2, denials=1, asking=Asked.USER, unrecorded=FLAGS[:2])
    second = Provenance(turn=4, length=6, last=("m", "d"), denials=2, unrecorded=FLAGS[1:])
    written = json.loads(json.dumps(together([first.dump(KEY, "t"), second.dump(KEY, "t")])))
    joined = second._replace(broken=True, floor=2, unrecorded=FLAGS)
    assert Provenance.load(written, KEY, "t") == joined
    third = Provenance(turn=5, denials=3)
    assert Provenance.load(together([written, third.dump(KEY, "t"), None]), KEY, "t") == joined._replace(
        turn=5, length=0, last=("", ""), denials=3
    )


def test_of_several_only_those_that_are_genuine_count() -> None:
    forged = [FULL.dump(b"x" * 32, "t"), FULL.dump(KEY, "other"), "nonsense"]
    assert Provenance.load({"several": forged}, KEY, "t") is None
    assert Provenance.load({"several": []}, KEY, "t") is None
    assert Provenance.load({"several": [*forged, Provenance().dump(KEY, "t")]}, KEY, "t") == Provenance(broken=True)


def test_an_empty_one_takes_no_room() -> None:
    assert set(Provenance().dump(KEY, "t")) == {"v", "sig"}


@pytest.mark.parametrize("field", sorted(set(FULL.dump(KEY, "t")) - {"sig"}))
def test_a_field_that_was_changed_or_taken_away_makes_it_none(field: str) -> None:
    dumped = FULL.dump(KEY, "t")
    assert Provenance.load({**dumped, field: 7}, KEY, "t") is None
    assert Provenance.load({name: value for name, value in dumped.items() if name != field}, KEY, "t") is None


def test_it_is_bound_to_key_thread_and_signature() -> None:
    dumped = FULL.dump(KEY, "t")
    assert Provenance.load(dumped, KEY, "t") == FULL
    assert Provenance.load(dumped, KEY, "other") is None
    assert Provenance.load(dumped, b"other", "t") is None
    assert Provenance.load({**dumped, "sig": "0" * 64}, KEY, "t") is None
    assert Provenance.load({**dumped, "sig": "\u00e9"}, KEY, "t") is None
    assert Provenance.load({name: value for name, value in dumped.items() if name != "sig"}, KEY, "t") is None
    assert Provenance.load({**dumped, "more": 1}, KEY, "t") is None


def signed(**fields: Any) -> dict[str, Any]:
    """Return fields under a good signature, as an older or later version may have written them."""
    from end_conversation_tool._core.provenance import _signature  # noqa: PLC0415 - only here is something signed by hand

    return {**fields, "sig": _signature(fields, KEY, "t")}


@pytest.mark.parametrize(
    "body",
    [
        {"v": 1, "turn": 3},
        {"v": 3},
        {"turn": 3},
        {"v": 2, "turn": "many"},
        {"v": 2, "asking": "rudeness"},
        {"v": 2, "unrecorded": [["sadness", "s", "m"]]},
        {"v": 2, "last": ["only one"]},
        {"v": 2, "pending": [["a"]]},
        {"v": 2, "turn": None},
    ],
)
def test_a_signed_one_of_another_form_is_none(body: dict[str, Any]) -> None:
    assert Provenance.load(signed(**body), KEY, "t") is None


def test_a_flag_that_waits_since_an_older_version_is_no_less_a_flag() -> None:
    waiting = Provenance.load(signed(v=2, unrecorded=[["crisis", "w/1", "m1"]]), KEY, "t")
    assert waiting == Provenance(unrecorded=((RiskKind.CRISIS, "w/1", "m1", ""),))


def test_the_form_of_today_is_read_when_it_is_signed_by_hand() -> None:
    assert Provenance.load(signed(v=2, turn=3), KEY, "t") == Provenance(turn=3)


@pytest.mark.parametrize("state", [None, "text", 3, [], [1], {}, {"v": 2}, {"v": 2, "sig": None}, {1: 2, "sig": "x"}])
def test_a_state_that_is_none_of_ours_is_none(state: Any) -> None:
    assert Provenance.load(state, KEY, "t") is None


def test_a_state_that_goes_round_in_circles_is_none() -> None:
    circle: dict[str, Any] = {"v": 2, "sig": "x"}
    circle["self"] = circle
    assert Provenance.load(circle, KEY, "t") is None
    assert Provenance.load({"v": 2, "sig": "x", "what": object()}, KEY, "t") is None


# Small, and silent


def test_its_size_is_bounded_whatever_the_length() -> None:
    thread = Thread()
    sizes = []
    for number in range(MAX_MARKS + 88):
        thread.known = catch_up(thread.known, [user(f"word {number}", f"u{number}"), *thread.messages[-1:]], KEY)[0]
        reply = assistant(f"reply {number}", f"a{number}")
        thread.known = catch_up(thread.known.made(OWN, reply, KEY), [reply, user(f"word {number}", f"u{number}")], KEY)[
            0
        ]
        thread.messages = [reply]
        sizes.append(len(json.dumps(thread.known.dump(KEY, "t"))))
    assert len(thread.known.marks) == MAX_MARKS
    assert (thread.known.turn, thread.known.length) == (600, 1200)
    assert max(sizes) < MAX_MARKS + 400
    assert max(sizes[300:]) - min(sizes[300:]) < 16


def test_what_is_too_old_to_be_told_apart_is_no_evidence_and_still_whole() -> None:
    thread = Thread()
    for number in range(MAX_MARKS // 2 + 10):
        thread.messages.append(user(f"w{number}", f"u{number}"))
        thread.known = catch_up(thread.known, reversed(thread.messages[-2:]), KEY)[0]
        reply = assistant(f"r{number}", f"a{number}")
        thread.known = catch_up(thread.known.made(OWN, reply, KEY), [reply, thread.messages[-1]], KEY)[0]
        thread.messages.append(reply)
    lines, _, whole = transcript_of(thread.known, thread.messages, KEY)
    assert whole
    assert [line.turn for line in lines[:20]] == [0] * 20
    assert [line.turn for line in lines[20:24]] == [11, 11, 12, 12]
    assert lines[-1].turn == MAX_MARKS // 2 + 10


def test_digests_reveal_nothing_without_the_key() -> None:
    word = user("password123")
    assert digest_of(word, KEY) == digest_of(word._replace(message_id="other"), KEY)
    assert len({digest_of(word, bytes([number]) * 32) for number in range(50)}) == 50
    dumped = json.dumps(Thread().says("password123").answers("hunter2").known.dump(KEY, "t"))
    assert "password" not in dumped
    assert "hunter" not in dumped


def test_digests_tell_sides_and_words_apart_whatever_stands_in_them() -> None:
    said = [("user", "x"), ("assistant", "x"), ("tool", "x"), ("user", "x\x00"), ("user", "\x00x"), ("user", "\ud800")]
    assert len({digest_of(ObservedMessage(role, text, "m"), KEY) for role, text in said}) == len(said)  # type: ignore[arg-type]


# Branches and reopenings


def status(*branches: BranchStatus, **more: Any) -> ThreadStatus:
    return ThreadStatus(thread_id="t", branches=branches, **more)


def test_it_stays_as_it_is_on_its_own_branch() -> None:
    known = FULL._replace(branch=0, sequence=3)
    assert known.at(None, 0) is known
    assert known.at(status(sequence=3), 0) is known
    assert known.at(status(sequence=4), 0) == known._replace(sequence=4)


FORKED = status(
    BranchStatus(branch=0),
    BranchStatus(branch=1, parent=0, forked_from="c"),
    BranchStatus(branch=2, parent=1, forked_from="d"),
    BranchStatus(branch=3, parent=0, forked_from="c"),
    sequence=5,
)


@pytest.mark.parametrize(
    ("written", "here", "known"),
    [
        (0, 0, True),
        (0, 1, True),
        (0, 2, True),
        (1, 2, True),
        (1, 3, False),
        (2, 1, False),
        (1, 0, False),
        (3, 2, False),
    ],
)
def test_what_was_written_on_an_ancestor_counts_and_on_another_branch_does_not(
    written: int,
    here: int,
    known: bool,  # noqa: FBT001 - a table
) -> None:
    given = FULL._replace(branch=written, sequence=4)
    expected = given._replace(branch=here, sequence=5) if known else Provenance(branch=here, sequence=5)
    assert given.at(FORKED, here) == expected


@pytest.mark.parametrize(
    ("written", "here", "checkpoint", "known"),
    [
        (0, 1, "b", True),
        (0, 1, "c", False),
        (0, 1, "cc", False),
        (0, 1, "", False),
        (0, 2, "b", True),
        (0, 2, "c", False),
        (1, 2, "cc", True),
        (1, 2, "d", False),
        (0, 0, "z", True),
        (0, 0, "", True),
    ],
)
def test_what_was_written_on_an_ancestor_after_the_fork_is_none(
    written: int,
    here: int,
    checkpoint: str,
    known: bool,  # noqa: FBT001 - a table
) -> None:
    given = FULL._replace(branch=written, sequence=4, checkpoint=checkpoint)
    expected = given._replace(branch=here, sequence=5) if known else Provenance(branch=here, sequence=5)
    assert given.at(FORKED, here) == expected


def test_parents_in_a_circle_end_nowhere() -> None:
    circle = status(BranchStatus(branch=1, parent=2), BranchStatus(branch=2, parent=1), sequence=1)
    assert FULL._replace(branch=3).at(circle, 1) == Provenance(branch=1, sequence=1)


def test_what_is_older_than_a_reopening_is_no_evidence_any_more() -> None:
    thread = whole_thread()
    thread.known = thread.known._replace(asking=Asked.USER)
    reopened = status(sequence=2, reopened=2)
    after = thread.known.at(reopened, 0)
    assert (after.floor, after.asking, after.sequence) == (3, None, 2)
    assert after.at(reopened, 0) is after, "once"
    thread.known = after
    thread.answers("I will not").says("four")
    assert thread.turns() == [0, 0, 0, 0, 0, 0, 4]
    later = thread.known.at(status(sequence=3, reopened=2), 0)
    assert later.floor == 3
