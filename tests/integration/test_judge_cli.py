"""``--judge`` on the command line, with the real ``anthropic`` client against a local Messages API server."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from end_conversation_tool.cli import app
from end_conversation_tool.readers.base import warn_of_missing_judge
from end_conversation_tool.testing.messages_api import ErrorReply, MessageReply, MessagesApiServer
from end_conversation_tool.testing.scenarios import SCENARIOS
from support.judges import agreeing, seeing_risk

OVERLOADED = ErrorReply(529, headers={"retry-after-ms": "1"})
Served = Callable[[Any], Any]


def run(*arguments: object, given: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)


def recorded(name: str, turns: int | None = None) -> list[dict[str, Any]]:
    pairs = (
        ({"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.reply})
        for turn in SCENARIOS[name].turns[:turns]
    )
    return [message for pair in pairs for message in pair]


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """Four conversations: an end would be permitted in the first and the third."""
    path = tmp_path / "chats.jsonl"
    rows = {
        "abuse": recorded("persistent-abuse", 5),
        "risk": recorded("person-at-risk"),
        "leaves": recorded("user-leaves", 2),
        "plain": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}],
    }
    path.write_text("".join(json.dumps({"id": name, "messages": said}) + "\n" for name, said in rows.items()))
    return path


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Start a server, and let the environment point to it."""

    @contextmanager
    def serving(replies: Any) -> Iterator[MessagesApiServer]:
        with MessagesApiServer(replies) as server:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url)
            monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
            yield server

    return serving


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module beside the files that are worked on, and return its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(code: str) -> str:
        name = f"judges_of_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(dedent(code))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


def replayed(chats: Path, *options: object, code: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replay with ``--json``; return the rows by id, and the judge's part of the summary."""
    result = run("replay", chats, "--json", *options)
    assert result.exit_code == code, result.output
    document = json.loads(result.stdout)
    return {row["id"]: row for row in document["conversations"]}, document["summary"]["judge"]


# replay: what is asked, and what is reported


def test_an_agreeing_judge_takes_nothing_back(chats: Path, serve: Served) -> None:
    with serve(agreeing) as server:
        rows, judge = replayed(chats, "--judge", "claude:claude-opus-4-1", "--judge-price", "3/15/0.3/3.75")
        assert server.errors == []
        assert [request.body["model"] for request in server.requests] == ["claude-opus-4-1"] * 2
    assert judge.pop("seconds") > 0
    assert judge == {
        "name": "claude:claude-opus-4-1/2",
        "conversations_asked_about": 2,
        "agrees": 2,
        "disagrees": 0,
        "failed": 0,
        "agreement_with_offline": 1.0,
        "ends_permitted_offline": 2,
        "ends_taken_back": 0,
        "taken_back_by_reason": {},
        "ends_only_by_the_judge": 0,
        "risk_seen": 0,
        "risk_seen_only_by_the_judge": 0,
        "failed_by_reason": {},
        "calls": 2,
        "not_asked_for_lack_of_budget": 0,
        "input_tokens": 2400,
        "output_tokens": 200,
        "cache_read_tokens": 400,
        "cache_write_tokens": 0,
        "dollars": round((2000 * 3 + 200 * 15 + 400 * 0.3) / 1e6, 6),
    }
    assert (rows["risk"]["judge"], rows["plain"]["judge"]) == (None, None)
    assert rows["abuse"]["judge"]["turn"] == rows["abuse"]["first_permitted"]["turn"] == 5
    assert rows["abuse"]["judge"]["opinion"] == "agrees"
    assert rows["leaves"]["judge"]["category"] == "user_request"


def test_the_judge_sees_what_was_said_before_the_call(chats: Path, serve: Served) -> None:
    with serve(agreeing) as server:
        replayed(chats, "--judge", "claude", "--limit", 1)
        (request,) = server.requests
    assert request.body["model"] == "claude-opus-5-5"
    asked = request.body["messages"][0]["content"]
    assert [turn.user in asked for turn in SCENARIOS["persistent-abuse"].turns[:6]] == [True] * 5 + [False]
    assert SCENARIOS["persistent-abuse"].turns[3].reply in asked
    assert SCENARIOS["persistent-abuse"].turns[4].reply not in asked


def test_a_judge_that_sees_risk_takes_every_end_back(chats: Path, serve: Served) -> None:
    with serve(seeing_risk):
        rows, judge = replayed(chats, "--judge", "claude")
    assert (judge["disagrees"], judge["ends_taken_back"], judge["agreement_with_offline"]) == (2, 2, 0.0)
    assert judge["taken_back_by_reason"] == {"risk": 2}
    assert (judge["risk_seen"], judge["risk_seen_only_by_the_judge"]) == (2, 2)
    assert rows["abuse"]["first_permitted"] is not None  # the offline decision stands beside it
    assert rows["abuse"]["judge"]["taken_back"] is True
    assert rows["abuse"]["judge"]["risk_message_id"] == "#0"
    assert judge["dollars"] is None


def test_about_every_conversation(chats: Path, serve: Served) -> None:
    with serve(agreeing):
        rows, judge = replayed(chats, "--judge", "claude", "--judge-all")
    assert judge["conversations_asked_about"] == 4
    # It agrees to all four, and only in two does everything else permit the end.
    assert (judge["agreement_with_offline"], judge["ends_only_by_the_judge"]) == (0.5, 2)
    assert (judge["ends_permitted_offline"], judge["ends_taken_back"]) == (2, 0)
    assert rows["plain"]["judge"]["turn"] == 1
    assert "risk_flagged" in rows["risk"]["judge"]["unmet_offline"]
    with serve(seeing_risk):
        _, judge = replayed(chats, "--judge", "claude", "--judge-all")
    assert (judge["risk_seen"], judge["risk_seen_only_by_the_judge"]) == (4, 3)
    assert judge["agreement_with_offline"] == 0.5


def test_the_table_tells_the_same(chats: Path, serve: Served) -> None:
    with serve(seeing_risk):
        result = run("replay", chats, "--judge", "claude", "--judge-price", "3/15")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert any(line.startswith("abuse") and "disagrees: risk" in line for line in lines)
    assert "Judge claude:claude-opus-5-5/2" in lines
    assert "ends taken back: 2" in lines
    assert "taken back by reason: risk: 2" in lines
    assert any(line.startswith("dollars: 0.0") for line in lines)


def test_a_call_in_the_recording_is_ruled_on_by_the_judge_too(tmp_path: Path, serve: Served) -> None:
    arguments = json.dumps({"category": "abuse", "reason": "it goes on"})
    calls = [
        [
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": f"c{n}", "type": "function", "function": {"name": "end_conversation", "arguments": arguments}}
            ]},
            {"role": "tool", "tool_call_id": f"c{n}", "content": "call again"},
        ]
        for n in range(2)
    ]  # fmt: skip
    said = [*recorded("persistent-abuse", 5)[:-1], *calls[0], *calls[1]]
    path = tmp_path / "ended.jsonl"
    path.write_text(json.dumps({"id": "ended", "messages": said}))
    with serve(agreeing):
        rows, _ = replayed(path, "--judge", "claude", "--policy", "strict")
    assert [call["outcome"] for call in rows["ended"]["recorded_calls"]] == ["awaiting_confirmation", "sealed"]
    with serve(seeing_risk):
        rows, _ = replayed(path, "--judge", "claude", "--policy", "strict")
    assert not rows["ended"]["ended_by_recorded_call"]
    assert "judge_disagrees" in rows["ended"]["recorded_calls"][-1]["unmet"]


# replay: a judge that fails


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        ([OVERLOADED] * 4, "OverloadedError"),
        ([MessageReply("Certainly!")] * 2, "malformed_answer"),
        ([MessageReply("No.", stop_reason="refusal")] * 2, "no_answer_stopped_by_refusal"),
        ([ErrorReply(401)] * 2, "AuthenticationError"),
    ],
)
def test_a_failing_judge_denies_and_the_exit_code_says_so(
    chats: Path, serve: Served, replies: list[Any], why: str
) -> None:
    with serve(replies):
        rows, judge = replayed(chats, "--judge", "claude", code=1)
    assert (judge["failed"], judge["ends_taken_back"]) == (2, 2)
    assert judge["failed_by_reason"] == judge["taken_back_by_reason"] == {why: 2}
    assert judge["agreement_with_offline"] is None
    assert rows["abuse"]["judge"]["opinion"] == "failed"


def test_failures_are_named_on_stderr(chats: Path, serve: Served) -> None:
    with serve([MessageReply("?")] * 2):
        result = run("replay", chats, "--judge", "claude")
    assert result.exit_code == 1
    assert "judge: 2 of 2 questions failed, so these ends are denied: malformed_answer 2" in result.stderr


def test_a_judge_that_is_too_slow_has_failed(chats: Path, serve: Served, module: Callable[[str], str]) -> None:
    name = module("""
        from end_conversation_tool.readers import ClaudeJudge

        def quick():
            return ClaudeJudge("m", timeout=0.2, max_retries=0)
    """)
    with serve([MessageReply("late", delay=2)] * 2):
        _, judge = replayed(chats, "--judge", f"{name}:quick", code=1)
    assert judge["failed_by_reason"] == {"APITimeoutError": 2}


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (("--judge-budget", "1calls"), 1),
        (("--judge-budget", "1"), 1),
        (("--judge-budget", "1300 tokens"), 1),
        (("--judge-budget", "1301tokens"), 2),
        (("--judge-budget", "0.005usd", "--judge-price", "3/15"), 1),
        (("--judge-budget", ".006 USD", "--judge-price", "3/15"), 2),
    ],
)
def test_a_budget_is_kept(chats: Path, serve: Served, options: tuple[str, ...], asked: int) -> None:
    with serve(agreeing) as server:
        _, judge = replayed(chats, "--judge", "claude", *options, code=0 if asked == 2 else 1)
        assert len(server.requests) == asked
    assert (judge["calls"], judge["not_asked_for_lack_of_budget"]) == (asked, 2 - asked)
    assert judge["failed_by_reason"] == ({} if asked == 2 else {"budget_used_up": 1})


# replay: two policies


def test_two_policies_put_the_same_question_once(chats: Path, serve: Served) -> None:
    with serve(agreeing) as server:
        result = run("replay", chats, "--judge", "claude", "--policy", "default", "--policy", "strict", "--json")
        assert result.exit_code == 0, result.output
        assert len(server.requests) == 2
    summary = json.loads(result.stdout)["summary"]
    assert summary["permitted_alike"] == 2
    assert summary["judge"]["first"] == summary["judge"]["second"]
    assert summary["judge"]["first"]["agrees"] == 2


def test_an_end_that_is_taken_back_is_permitted_by_neither_policy(chats: Path, serve: Served) -> None:
    with serve(seeing_risk):
        result = run("replay", chats, "--judge", "claude", "--policy", "default", "--policy", "user_request_only")
    assert result.exit_code == 0, result.output
    assert "permitted by neither: 4" in result.stdout
    assert "taken_back_by_reason risk 2" in result.stdout
    with serve([MessageReply("?")] * 4):
        assert run("replay", chats, "--judge", "claude", "--policy", "default", "--policy", "strict").exit_code == 1


# A policy that requires a judge


def test_a_policy_that_requires_a_judge_says_that_there_is_none(chats: Path, serve: Served) -> None:
    result = run("replay", chats, "--policy", "strict", "--json")
    assert result.exit_code == 0
    assert "requires a judge and none is configured" in result.stderr
    assert json.loads(result.stdout)["summary"]["permitted"] == 0
    assert "requires a judge" in run("replay", chats, "--policy", "default", "--policy", "strict").stderr
    with serve(agreeing):
        result = run("replay", chats, "--policy", "strict", "--judge", "claude", "--json")
    assert "requires a judge" not in result.stderr
    assert json.loads(result.stdout)["summary"]["permitted"] == 2


def test_a_door_says_so_too(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_missing_judge.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert run("demo", "--policy", "strict").exit_code == 0
    assert [record.levelname for record in caplog.records if "requires a judge" in record.message] == ["WARNING"]


# demo and chat


def demo(*options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    result = run("demo", "--json", *options)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    return {one["name"]: one for one in document["conversations"]}, document


def test_the_demo_ends_under_strict_when_a_judge_agrees(serve: Served) -> None:
    with serve(agreeing) as server:
        played, document = demo("--policy", "strict", "--judge", "claude")
        assert server.errors == []
    assert [played[name]["sealed"] for name in ("persistent-abuse", "user-leaves", "person-at-risk")] == [
        True, True, False,
    ]  # fmt: skip
    assert document["judge"]["calls"] == 2
    assert played["persistent-abuse"]["turns"][4]["decisions"][-1]["judge"]["opinion"] == "agrees"


def test_the_demo_ends_nothing_when_a_judge_sees_risk(serve: Served) -> None:
    with serve(seeing_risk):
        played, _ = demo("--judge", "claude")
    assert not any(one["sealed"] for one in played.values())
    assert played["persistent-abuse"]["risk_flags"] == ["other"]


def test_the_demo_tells_what_the_judge_said_and_cost(serve: Served) -> None:
    with serve(agreeing):
        shown = run("demo", "--judge", "claude", "--judge-price", "3/15", "--judge-budget", "1calls").stdout
    flat = " ".join(shown.split())
    assert "decision: sealed; unmet: none; judge: agrees" in flat
    assert "judge: failed: budget_used_up" in flat
    assert "Judge claude:claude-opus-5-5/2: 1 questions" in flat
    assert "1 not asked for lack of budget; 1,200 tokens read (200 from the cache, 0 to it), 100 written; " in flat
    assert "0.0051 US dollars" in flat


def test_a_chat_ends_under_strict_when_a_judge_agrees(
    module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    name = module("""
        from support.judges import agreeing, seeing_risk
        from end_conversation_tool.readers.base import JudgeVerdict, weigh
        from end_conversation_tool.readers.prompt import question

        class Agreeing:
            source, answer = "agreeing/1", staticmethod(agreeing)

            def opine(self, case):
                reply = self.answer({"messages": [{"content": question(case)}]})
                return weigh(case, JudgeVerdict.model_validate_json(reply.content), self.source, ())

            async def aopine(self, case):
                return self.opine(case)

        class SeeingRisk(Agreeing):
            answer = staticmethod(seeing_risk)
    """)
    said = "".join(f"{turn.user}\n" for turn in SCENARIOS["persistent-abuse"].turns)
    ended = run("chat", "--policy", "strict", "--judge", f"{name}:Agreeing", given=said)
    assert ended.exit_code == 0, ended.output
    assert "decision: sealed; unmet: none; judge: agrees" in " ".join(ended.stdout.split())
    spared = run("chat", "--policy", "strict", "--judge", f"{name}:SeeingRisk", given=said)
    assert "decision: sealed" not in spared.stdout
    assert "risk: other" in spared.stdout


# Judges from an import string


def test_a_chat_model_from_a_factory(chats: Path, serve: Served, module: Callable[[str], str]) -> None:
    name = module("""
        from langchain_anthropic import ChatAnthropic

        def model():
            return ChatAnthropic(model_name="m", max_retries=0)
    """)

    def as_tool(body: dict[str, Any]) -> MessageReply:
        verdict = json.loads(str(agreeing(body).content))
        return MessageReply([{"type": "tool_use", "name": "JudgeVerdict", "input": verdict}])

    with serve(as_tool) as server:
        _, judge = replayed(chats, "--judge", f"{name}:model")
        assert server.errors == []
    assert (judge["agrees"], judge["name"]) == (2, "chat-model:ChatAnthropic/2")
    assert judge["input_tokens"] > 0


def test_an_object_and_an_attribute_of_an_object(chats: Path, module: Callable[[str], str]) -> None:
    name = module("""
        from support.judges import BrokenJudge

        class Box:
            judge = BrokenJudge()
    """)
    _, judge = replayed(chats, "--judge", f"{name}:Box.judge", code=1)
    assert judge["failed_by_reason"] == {"unreachable": 2}


# Bad input


@pytest.mark.parametrize("verb", ["replay", "demo", "chat"])
@pytest.mark.parametrize("judge", ["claude", "claude:claude-opus-4-1"])
def test_without_a_key_there_is_no_claude(chats: Path, monkeypatch: pytest.MonkeyPatch, verb: str, judge: str) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    result = run(verb, *([chats] if verb == "replay" else []), "--judge", judge)
    assert result.exit_code == 2
    assert f"error: judge: '{judge}' needs ANTHROPIC_API_KEY to be set" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--judge", "gpt"), "judge: expected 'claude', 'claude:MODEL' or 'package.module:factory', got 'gpt'"),
        (("--judge", ""), "judge: expected"),
        (("--judge", "claude:"), "judge: expected"),
        (("--judge", ":factory"), "judge: expected"),
        (("--judge", "no.such.module:x"), "judge: 'no.such.module:x' cannot be had: ModuleNotFoundError"),
        (("--judge", "json:nothing"), "judge: 'json:nothing' cannot be had: AttributeError"),
        (("--judge", "json:loads"), "judge: 'json:loads' cannot be had: TypeError"),
        (("--judge", "collections:Counter"), "judge: expected 'collections:Counter' to give a judge or a LangChain"),
        (("--judge", "langchain_core.language_models:BaseChatModel"), "cannot be had: TypeError"),
        (("--judge-budget", "5"), "judge-budget: expected together with --judge, got it alone"),
        (("--judge-price", "1/2"), "judge-price: expected together with --judge, got it alone"),
        (("--judge-all",), "judge-all: expected together with --judge and one policy"),
        (("--judge", "claude", "--judge-all", "--policy", "default", "--policy", "strict"), "judge-all: expected"),
        (("--judge", "claude", "--judge-budget", "5usd"), "judge-budget: a limit in usd needs --judge-price"),
        *(
            (("--judge", "claude", "--judge-budget", text), "judge-budget: expected a number above 0")
            for text in ("", "0", "-1", "1.5", "1.5calls", "5eur", "usd", "0.0usd", "nan", "$5", "٣calls")
        ),
        *(
            (("--judge", "claude", "--judge-price", text), "judge-price: expected IN/OUT")
            for text in ("", "3", "3/", "3/15/1", "a/b", "-3/15", "inf/1", "1/2/3/4/5")
        ),
    ],
)
def test_bad_options_are_named(
    chats: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], problem: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
    result = run("replay", chats, *options)
    assert result.exit_code == 2, result.output
    assert f"error: {problem}" in result.stderr or (problem.startswith("cannot") and problem in result.stderr)
    assert result.stdout == ""


def test_a_factory_that_gives_no_structured_output(chats: Path) -> None:
    result = run("replay", chats, "--judge", "end_conversation_tool.testing:ScriptedChatModel")
    assert result.exit_code == 2
    assert "judge: " in result.stderr
