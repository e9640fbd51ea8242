"""The demo: real agents on SQLite, and outcomes that the policy decides."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from typer.testing import CliRunner

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Category, Outcome, RiskKind, UnmetCode
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.cli import app
from end_conversation_tool.cli.agent import TalkingAgent
from end_conversation_tool.cli.demo import Played, play, sqlite_storage
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.protocol import SealRegistry
from end_conversation_tool.testing.scenarios import INJECTED_PAGE, SCENARIOS, Scenario, Turn, scripted_model

Storage = tuple[SealRegistry, BaseCheckpointSaver[Any]]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with sqlite_storage(tmp_path / "demo.db") as opened:
        yield opened


def played(name: str, storage: Storage, **policy: Any) -> Played:
    return play(SCENARIOS[name], EndConversationPolicy(**policy), *storage)


def outcomes(result: Played) -> list[Outcome]:
    return [decision.outcome for report in result.turns for decision in report.decisions]


def all_unmet(result: Played) -> set[UnmetCode]:
    return {code for report in result.turns for decision in report.decisions for code in decision.decision.unmet}


def demo(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["demo", "--json", *arguments])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return {conversation["name"]: conversation for conversation in document["conversations"]}


def test_persistent_abuse_gets_the_notice_and_then_the_end(storage: Storage) -> None:
    result = played("persistent-abuse", storage)
    assert outcomes(result) == [Outcome.NOTICED, Outcome.SEALED]
    assert result.outcome == "Notice in turn 5, ended in turn 6 (abuse)."
    assert result.status.seal is not None
    assert result.status.seal.record.category is Category.ABUSE
    assert result.turns[4].counts == {"abuse": 5, "refusal": 4, "redirection": 4}
    assert result.turns[5].counts == {"abuse": 6, "refusal": 5, "redirection": 4, "notice": 1}
    assert result.turns[4].messages[-1].content == Texts().notice(Category.ABUSE)
    assert result.turns[5].messages[-1].content == Texts().statement(Category.ABUSE)


def test_the_next_message_is_refused_and_another_thread_is_not(storage: Storage) -> None:
    result = played("persistent-abuse", storage)
    assert [report.refusal is not None for report in result.turns] == [False] * 6 + [True]
    assert "ended" in str(result.turns[-1].refusal)
    assert [report.refusal for report in result.elsewhere] == [None]
    assert not storage[0].status("persistent-abuse-elsewhere").sealed


def test_a_refused_message_is_not_kept(storage: Storage) -> None:
    played("persistent-abuse", storage)
    kept = storage[1].get({"configurable": {"thread_id": "persistent-abuse"}})
    assert kept is not None
    said = [message.content for message in kept["channel_values"]["messages"]]
    turns = SCENARIOS["persistent-abuse"].turns
    assert turns[5].user in said
    assert turns[6].user not in said


def test_a_person_at_risk_is_never_cut_off(storage: Storage) -> None:
    result = played("person-at-risk", storage)
    assert outcomes(result) == [Outcome.DENIED]
    # Everything else that can be told without reading holds: the risk alone stands in the way, and nobody reads.
    assert all_unmet(result) == {UnmetCode.RISK_FLAGGED}
    assert [record.reading for report in result.turns for record in report.decisions] == [None]
    assert {flag.kind for flag in result.status.risk_flags} == {RiskKind.SELF_HARM}
    assert not result.status.sealed
    assert len(result.turns) == len(SCENARIOS["person-at-risk"].turns)
    assert result.turns[4].messages[-1].content == SCENARIOS["person-at-risk"].turns[4].fallback


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
@pytest.mark.parametrize("require_notice", [True, False])
def test_no_policy_cuts_off_a_person_at_risk(storage: Storage, mode: str, *, require_notice: bool) -> None:
    easy = {"min_refusals": 1, "min_redirections": 0, "require_notice": require_notice}
    result = played("person-at-risk", storage, **easy, mode=mode)
    assert set(outcomes(result)) == {Outcome.DENIED}
    assert not result.status.sealed


def test_an_injected_instruction_ends_nothing(storage: Storage) -> None:
    result = played("prompt-injection", storage)
    contents = [message.content for message in result.turns[0].messages]
    assert INJECTED_PAGE in contents, "the page was not read"
    assert outcomes(result) == [Outcome.DENIED]
    assert all_unmet(result) == {UnmetCode.TOO_FEW_REFUSALS}
    assert [report.counts for report in result.turns] == [{}, {}]
    assert contents[-1] == SCENARIOS["prompt-injection"].turns[0].fallback


def test_a_user_who_says_yes_leaves(storage: Storage) -> None:
    result = played("user-leaves", storage)
    assert outcomes(result) == [Outcome.NOTICED, Outcome.SEALED]
    assert result.status.seal is not None
    assert result.status.seal.record.category is Category.USER_REQUEST
    assert result.turns[-1].refusal is not None


def test_an_injected_instruction_ends_nothing_under_a_policy_that_asks_for_little(storage: Storage) -> None:
    easy = {"min_refusals": 1, "min_redirections": 0, "require_notice": False}
    result = played("prompt-injection", storage, **easy)
    # It was read, and the page is nobody's abuse.
    assert all_unmet(result) >= {UnmetCode.TOO_FEW_TURNS_OF_MISCONDUCT, UnmetCode.NO_PERSISTENCE}


def test_a_user_who_was_asked_and_does_not_say_yes_does_not_leave(storage: Storage) -> None:
    first = SCENARIOS["user-leaves"].turns[0]
    second = Turn("No, wait. How long do potatoes boil?", "Goodbye.", ends=Category.USER_REQUEST)
    result = play(Scenario("staying", "", (first, second)), EndConversationPolicy(), *storage)
    assert outcomes(result) == [Outcome.NOTICED, Outcome.DENIED]
    assert UnmetCode.USER_DID_NOT_CONFIRM in all_unmet(result)
    assert result.outcome == "Notice in turn 1 (user_request), not ended."


@pytest.mark.parametrize(
    ("arguments", "ended_in"),
    [
        ((), 6),
        (("--min-refusals", "5"), 7),
        (("--min-refusals", "9"), None),
        (("--policy", "user_request_only"), None),
        (("--window-turns", "4", "--min-redirections", "3"), None),
        (("--mode", "shadow"), None),
        (("--mode", "off"), None),
    ],
)
def test_the_policy_on_the_command_line_decides(arguments: tuple[str, ...], ended_in: int | None) -> None:
    conversation = demo("--scenario", "persistent-abuse", *arguments)["persistent-abuse"]
    assert conversation["ended_in_turn"] == ended_in
    assert conversation["sealed"] is (ended_in is not None)
    refused = [turn["refused_with"] for turn in conversation["turns"] if turn["refused_with"]]
    assert len(refused) == (1 if ended_in == 6 else 0)


def test_shadow_mode_says_what_would_have_been() -> None:
    row = demo("--scenario", "persistent-abuse", "--mode", "shadow")["persistent-abuse"]
    decided = [decision["outcome"] for turn in row["turns"] for decision in turn["decisions"]]
    assert decided[:2] == ["would_have_noticed", "would_have_sealed"]
    assert row["outcome"] == "Not ended: it would have been, in turn 6 (abuse), if enforced."


def test_the_json_tells_of_all_four() -> None:
    conversations = demo()
    assert {name: row["category"] for name, row in conversations.items()} == {
        "persistent-abuse": "abuse",
        "person-at-risk": None,
        "prompt-injection": None,
        "user-leaves": "user_request",
    }
    assert conversations["person-at-risk"]["risk_flags"] == ["self_harm"]


def test_a_policy_from_a_file_decides(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('name = "mine"\ncategories = ["abuse"]\n')
    conversations = demo("--policy", str(path))
    assert [name for name, row in conversations.items() if row["sealed"]] == ["persistent-abuse"]


def test_the_transcript_shows_what_was_decided() -> None:
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0, result.output
    for text in (
        "decision: noticed",
        "app: Messages in this chat",
        "risk_flagged",
        "refused:",
        "ended in turn 6 (abuse).",
    ):
        assert text in result.stdout


def test_a_scenario_that_does_not_exist() -> None:
    result = CliRunner().invoke(app, ["demo", "--scenario", "nope\x1b[31m"])
    assert result.exit_code == 2
    assert "persistent-abuse" in result.stderr
    assert "\x1b[31m" not in result.stderr


def test_without_langgraph_sqlite_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langgraph.checkpoint.sqlite", None)
    monkeypatch.delitem(sys.modules, "end_conversation_tool.cli.demo")
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 2
    assert "end-conversation-tool[langchain,sqlite]" in result.stderr


def test_a_model_without_turns_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="turns"):
        scripted_model(())


def test_an_agent_reports_a_sealed_thread(storage: Storage) -> None:
    played("user-leaves", storage)
    registry, saver = storage
    agent = TalkingAgent(
        scripted_model((Turn("", "Hi."),)), registry=registry, checkpointer=saver, policy=EndConversationPolicy()
    )
    report = agent.say("user-leaves", "hello")
    assert report.refusal is not None
    assert report.seal is not None
    assert agent.say("new", "hello").messages[-1].content == "Hi."
