"""The tool: LangChain's own suite, the wire schemas, and what it says where nothing enforces an end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.unit_tests import ToolsUnitTests

from end_conversation_tool._core.prompts import TOOL_DESCRIPTION, denial_text, not_enforced_text
from end_conversation_tool._core.records import TOOL_NAME, Category, UnmetCode, parse_request
from end_conversation_tool._doors.tool import anthropic_tool, create_end_conversation_tool, openai_tool
from end_conversation_tool.errors import InvalidInputError

ARGUMENTS = {"category": "abuse", "reason": "why"}


class TestStandardSuite(ToolsUnitTests):
    @property
    def tool_constructor(self) -> BaseTool:
        return create_end_conversation_tool()

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return ARGUMENTS


def test_an_unenforced_call_says_that_nothing_ended() -> None:
    tool = create_end_conversation_tool()
    assert tool.name == TOOL_NAME == "end_conversation"
    assert tool.description == TOOL_DESCRIPTION
    for answer in (tool.invoke(ARGUMENTS), asyncio.run(tool.ainvoke(ARGUMENTS))):
        assert answer == not_enforced_text()
        assert "Nothing has ended" in answer


MALFORMED: list[Any] = [
    {},
    {"category": "abuse"},
    {"reason": "why"},
    {"category": "rudeness", "reason": "why"},
    {"category": "ABUSE", "reason": "why"},
    {"category": ["abuse"], "reason": "why"},
    {"category": None, "reason": "why"},
    {"category": "abuse", "reason": ""},
    {"category": "abuse", "reason": " \n"},
    {"category": "abuse", "reason": "a" * 501},
    {"category": "abuse", "reason": 5},
]


@pytest.mark.parametrize("arguments", MALFORMED)
def test_malformed_arguments_get_an_error_that_the_model_can_act_on(arguments: dict[str, Any]) -> None:
    call = {"name": TOOL_NAME, "args": arguments, "id": "c1", "type": "tool_call"}
    answer = create_end_conversation_tool().invoke(call)
    assert isinstance(answer, ToolMessage)
    assert answer.status == "error"
    assert answer.content == denial_text([UnmetCode.INVALID_ARGUMENTS])
    assert all(category in answer.text for category in Category)


@pytest.mark.parametrize("arguments", [*MALFORMED, None, "", "{}", [], 5, {**ARGUMENTS, "force": True}, {1: 2}])
def test_malformed_arguments_are_no_request(arguments: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^end_conversation: ") as caught:
        parse_request(arguments)
    assert isinstance(caught.value, ValueError)


def test_an_error_names_every_field() -> None:
    with pytest.raises(InvalidInputError, match=r"category: .*'abuse', 'harmful_requests' or 'user_request'; reason: "):
        parse_request({"category": "rudeness", "reason": ""})


@pytest.mark.parametrize("category", Category)
def test_requests(category: Category) -> None:
    request = parse_request({"category": str(category), "reason": " why "})
    assert (request.category, request.reason) == (category, "why")


def test_the_wire_schemas_say_the_same_as_the_tool() -> None:
    from_langchain = convert_to_openai_tool(create_end_conversation_tool())["function"]
    for schema in (openai_tool()["function"], {**anthropic_tool(), "parameters": anthropic_tool()["input_schema"]}):
        assert schema["name"] == from_langchain["name"]
        assert schema["description"] == from_langchain["description"]
        theirs, ours = from_langchain["parameters"], schema["parameters"]
        assert ours["required"] == theirs["required"]
        assert set(ours["properties"]) == set(theirs["properties"])
        for name, mine in ours["properties"].items():
            assert mine["description"] == theirs["properties"][name]["description"]
        assert sorted(ours["properties"]["category"]["enum"]) == sorted(Category)
        assert ours["properties"]["reason"]["maxLength"] == 500
        assert ours["additionalProperties"] is False


@pytest.mark.parametrize("make", [anthropic_tool, openai_tool])
def test_strict_schemas_hold_only_what_strict_apis_take(make: Any) -> None:
    strict, plain = make(strict=True), make()
    inner, loose = (strict, plain) if make is anthropic_tool else (strict["function"], plain["function"])
    assert inner.pop("strict") is True
    assert "strict" not in loose
    parameters = inner["input_schema" if make is anthropic_tool else "parameters"]
    assert set(parameters["properties"]["reason"]) == {"type", "description"}
    assert parameters["required"] == sorted(parameters["properties"])
    for field in ("minLength", "maxLength"):
        del loose["input_schema" if make is anthropic_tool else "parameters"]["properties"]["reason"][field]
    assert strict == plain


def test_schemas_are_byte_identical_and_not_shared() -> None:
    assert repr(anthropic_tool()) == repr(anthropic_tool())
    anthropic_tool()["input_schema"]["properties"].clear()
    assert anthropic_tool()["input_schema"]["properties"]
