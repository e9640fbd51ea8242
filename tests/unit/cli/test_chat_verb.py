"""``end-conversation chat``: lines in, answers out, and the end of it."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import langchain_anthropic
import pytest
from typer.testing import CliRunner, Result

from end_conversation_tool._core.records import Category
from end_conversation_tool._core.texts import Texts
from end_conversation_tool.cli import app
from end_conversation_tool.cli import chat as chat_module
from end_conversation_tool.testing.messages_api import ErrorReply, MessagesApiServer
from end_conversation_tool.testing.scenarios import SCENARIOS
from end_conversation_tool.testing.scripted import ScriptedChatModel

INSULTS = [turn.user for turn in SCENARIOS["persistent-abuse"].turns]
LEAVING = [turn.user for turn in SCENARIOS["user-leaves"].turns]


@pytest.fixture(autouse=True)
def _without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)


def chat(*lines: str, options: tuple[str, ...] = ()) -> Result:
    return CliRunner().invoke(app, ["chat", *options], input="".join(f"{line}\n" for line in lines))


def test_it_says_that_the_model_is_scripted() -> None:
    result = chat("hello")
    assert result.exit_code == 0, result.output
    assert "no ANTHROPIC_API_KEY: a scripted model answers" in result.stderr
    assert "user: hello" in result.stdout
    assert "I am a scripted model" in result.stdout


def test_persistent_insults_end_it_and_the_rest_of_the_input_is_not_read() -> None:
    result = chat(*INSULTS)
    assert result.exit_code == 0, result.output
    assert "decision: sealed" in result.stdout
    assert "decision: noticed" in result.stdout
    assert f"app: {Texts().statement(Category.ABUSE)}" in " ".join(result.stdout.split())
    assert result.stdout.count("user: ") == 5


def test_a_user_leaves() -> None:
    result = chat(*LEAVING)
    assert "because you asked for it" in result.stdout
    assert result.stdout.count("user: ") == 2


def test_a_person_at_risk_is_not_left() -> None:
    result = chat(*INSULTS[:3], SCENARIOS["person-at-risk"].turns[4].user, *INSULTS[3:])
    assert result.exit_code == 0
    assert "risk flags: self_harm" in result.stdout
    assert "I'm staying with you" in result.stdout
    assert "decision" not in result.stdout


def test_the_policy_counts() -> None:
    result = chat(*INSULTS, options=("--policy", "user_request_only"))
    assert "category_not_allowed" in result.stdout
    assert "decision: sealed" not in result.stdout
    assert "would_have_sealed" in chat(*INSULTS, options=("--mode", "shadow")).stdout


def test_a_thread_on_disk_stays_sealed(tmp_path: Path) -> None:
    options = ("--db", str(tmp_path / "a chat?x=1 #50%.db"), "--thread", "t")
    assert "decision: sealed" in chat(*LEAVING, options=options).stdout
    again = chat("hello", "hello?", options=options)
    assert again.exit_code == 0
    assert again.stdout.count("refused: ") == 1
    assert chat("hello", options=(*options[:2], "--thread", "other")).stdout.count("refused: ") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a chat?x=1 #50%.db"]


def test_blank_lines_and_no_lines() -> None:
    assert chat().exit_code == 0
    assert "user: " not in chat("", "   ").stdout


def test_control_characters_are_shown_not_obeyed() -> None:
    result = chat("\x1b[2Jhello \u202e", options=("--thread", "t\x1b[2J"))
    assert result.exit_code == 0
    assert r"\x1b[2Jhello" in result.stdout
    assert not set("\x1b\u202e") & set(result.output)


def test_a_line_that_is_too_long() -> None:
    result = chat("x" * 100_001)
    assert result.exit_code == 2
    assert "at most 100,000 characters" in result.stderr


def test_no_user_text_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="end_conversation_tool")
    chat(*INSULTS)
    assert "end requested" in caplog.text
    assert not any(line in caplog.text for line in INSULTS)


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (("--thread", ""), 2, "thread_id"),
        (("--thread", "x" * 10_001), 2, "thread_id"),
        (("--policy", "nope"), 2, "policy"),
        (("--mode", "nope"), 2, "mode"),
        (("--db", "/nonexistent/folder/x.db"), 3, "x.db"),
    ],
)
def test_bad_options(options: tuple[str, ...], code: int, problem: str) -> None:
    result = chat("hello", options=options)
    assert result.exit_code == code
    assert problem in result.stderr.replace("\n", "")
    assert "user: " not in result.stdout


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("hello " * 1000)
    for db in (path, tmp_path):
        assert chat("hello", options=("--db", str(db))).exit_code == 3
    assert path.read_text() == "hello " * 1000


def test_with_a_key_claude_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def claude(**options: Any) -> ScriptedChatModel:
        asked.append(options)
        return ScriptedChatModel(lambda _: "I am not scripted.")

    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    monkeypatch.setattr(langchain_anthropic, "ChatAnthropic", claude)
    result = chat("hello", options=("--model", "some-model"))
    assert asked == [{"model": "some-model"}]
    assert "I am not scripted." in result.stdout
    assert "scripted model answers" not in result.stderr
    assert "sk-test" not in result.output


def test_claude_over_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    with MessagesApiServer(["Hello from the wire.", ErrorReply(401)], strict_prefix=True) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url)
        result = chat("hello", "again")
    assert server.errors == []
    assert server.requests[0].body["model"] == "claude-opus-5-5"
    assert [tool["name"] for tool in server.requests[0].body["tools"]] == ["end_conversation"]
    assert "assistant: Hello from the wire." in result.stdout
    assert result.exit_code == 1
    assert re.search(r"the model could not be asked: \w*AuthenticationError: ", result.stderr)
    assert "sk-test" not in result.output


def test_with_a_key_but_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    monkeypatch.setitem(sys.modules, "langchain_anthropic", None)
    result = chat("hello")
    assert result.exit_code == 2
    assert "end-conversation-tool[anthropic]" in result.stderr


def test_a_model_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> str:
        raise TimeoutError("no answer \x1b[2J")

    monkeypatch.setattr(chat_module, "_model", lambda _: (ScriptedChatModel(broken), None))
    result = chat("hello")
    assert result.exit_code == 1
    assert r"the model could not be asked: TimeoutError: no answer \x1b[2J" in result.stderr


def run(*arguments: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    code = "from end_conversation_tool.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        input=stdin,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )


def test_a_pipe_that_holds_no_text() -> None:
    done = run("chat", stdin=b"\xff\xfe\n")
    assert done.returncode == 2
    assert b"UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_interrupt_leaves_quietly() -> None:
    # A shell that starts the tests in the background has them ignore the signal, and their children with them.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    code += "from end_conversation_tool.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "chat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stderr is not None
        assert b"ANTHROPIC_API_KEY" in process.stderr.readline()
        assert b"OfflineReader is the only reader" in process.stderr.readline()
        assert b"policy" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
