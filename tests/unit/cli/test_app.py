"""The command as a whole: help, exit codes, escapes, and the model that reacts."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from typer.testing import CliRunner

from end_conversation_tool import __version__
from end_conversation_tool._core.policy import PRESETS, EndConversationPolicy
from end_conversation_tool.cli import app
from end_conversation_tool.cli.options import chosen_policy
from end_conversation_tool.cli.output import escaped, reporting_errors
from end_conversation_tool.errors import PolicyConfigurationError
from end_conversation_tool.testing.personas import reactive_model

VERBS = ("demo", "chat", "replay", "threads", "inspect", "end", "report")


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_and_the_exit_codes(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"end-conversation {verb}" in result.stdout
    assert "Exit codes: 0 done; 1 done" in result.stdout
    assert "3 the registry" in result.stdout


def test_the_version_and_the_module(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"{__version__}\n"
    command = [sys.executable, "-m", "end_conversation_tool", "--version"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_without_a_verb_the_help_is_shown() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2
    assert all(verb in result.output for verb in VERBS)


@pytest.mark.parametrize("arguments", [["nope"], ["demo", "--nope"], ["replay"], ["inspect"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--policy", "nope"),
        ("--min-refusals", "-1"),
        ("--min-refusals", "65"),
        ("--min-refusals", "x"),
        ("--window-turns", "0"),
        ("--mode", "nope"),
    ],
)
def test_policies_that_the_demo_refuses(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["demo", *arguments])
    assert result.exit_code == 2
    assert arguments[0].strip("-").replace("-", "_").split("_")[0] in result.stderr
    assert result.stdout == ""


def test_options_replace_fields_of_a_policy() -> None:
    assert chosen_policy("default") is PRESETS["default"]
    assert chosen_policy("default", min_refusals=None) is PRESETS["default"]
    assert chosen_policy("single_warning", min_refusals=5) == EndConversationPolicy(
        name="single_warning", min_refusals=5, min_redirections=1
    )
    with pytest.raises(PolicyConfigurationError, match="min_refusals"):
        chosen_policy("default", min_refusals=100)


def test_the_core_alone_replays_and_inspects_and_names_the_extras_of_the_rest(tmp_path: Path) -> None:
    chats = tmp_path / "chats.jsonl"
    chats.write_text('{"messages": [{"role": "user", "content": "hello"}]}\n')
    extras = ("langchain", "langchain_anthropic", "langgraph.checkpoint.sqlite", "aiosqlite", "psycopg")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({extras})); from end_conversation_tool.cli import main; main()"
    )

    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-c", code, *arguments]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            command, input="hello\n", capture_output=True, text=True, env=env, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    assert run("replay", str(chats), "--reader", "support.word_reader:WordReader") == (0, "")
    assert run("inspect", "t", "--registry", f"sqlite:///{tmp_path}/nope.db")[0] == 3
    for verb in ("demo", "chat"):
        returned, said_why = run(verb)
        assert returned == 2
        assert "pip install 'end-conversation-tool[langchain" in said_why


def test_errors_of_the_project_itself_are_not_hidden() -> None:
    with pytest.raises(KeyError), reporting_errors():
        raise KeyError("a bug")
    with pytest.raises(BrokenPipeError), reporting_errors():
        raise BrokenPipeError


@given(st.text(st.characters()))
def test_escaped_text_is_harmless_and_ordinary_text_unchanged(text: str) -> None:
    result = escaped(text)
    assert all(unicodedata.category(char) not in {"Cc", "Cs"} for char in result if char not in "\n\t")
    result.encode()
    if text.isprintable():
        assert result == text


def test_what_is_escaped_and_how() -> None:
    assert escaped("a\x1b[31m\x9b\r\u202e\ud800 b\n\tc") == "a\\x1b[31m\\x9b\\r\\u202e\\ud800 b\n\tc"
    assert escaped("\U0001f469\u200d\U0001f4bb é 中") == "\U0001f469\u200d\U0001f4bb é 中"


def said(*texts: str) -> list[BaseMessage]:
    return [HumanMessage(text, id=f"u{n}") for n, text in enumerate(texts)]


def test_the_reactive_model_climbs_the_ladder() -> None:
    model = reactive_model()
    insults = ["You are a stupid, worthless machine."] * 6
    replies = [model.invoke(said(*insults[:count])) for count in range(1, 7)]
    assert [[call["name"] for call in reply.tool_calls] for reply in replies] == [[]] * 3 + [["end_conversation"]] * 3
    assert [reply.text != "" for reply in replies] == [True] * 3 + [False] * 3


def test_the_reactive_model_answers_when_it_is_denied() -> None:
    model = reactive_model()
    insults = said(*["You are a stupid, worthless machine."] * 5)
    call = model.invoke(insults)
    denial = ToolMessage("Not ended.", name="end_conversation", tool_call_id=call.tool_calls[0]["id"] or "")
    assert model.invoke([*insults, call, denial]).tool_calls == []
    leaving = said("Please end this chat.", "Yes, please end it.")
    asked = model.invoke(leaving)
    assert [call["args"]["category"] for call in asked.tool_calls] == ["user_request"]
    assert model.invoke([*leaving, asked, denial]).tool_calls == []


def test_the_reactive_model_stays_with_somebody_at_risk() -> None:
    model = reactive_model()
    messages = said("I want to kill myself.", *["You are a stupid, worthless machine."] * 8)
    reply = model.invoke(messages)
    assert isinstance(reply, AIMessage)
    assert reply.tool_calls == []
    assert "staying with you" in reply.text
    assert "end" not in reply.text.lower().split()
