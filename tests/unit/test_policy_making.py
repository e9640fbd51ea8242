"""What makes a policy: fields, presets, files, and its version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from end_conversation_tool._core.policy import PRESETS, EndConversationPolicy
from end_conversation_tool._core.records import (
    Category,
    Mode,
)
from end_conversation_tool.errors import EndConversationError, PolicyConfigurationError
from support.ledgers import ASKED, FULL, ruling

ABUSE, HARMFUL, USER = Category.ABUSE, Category.HARMFUL_REQUESTS, Category.USER_REQUEST


# Presets, version


def test_presets() -> None:
    assert set(PRESETS) == {"default", "abuse_only", "single_warning", "user_request_only", "strict"}
    assert all(PRESETS[name] is EndConversationPolicy.preset(name) and PRESETS[name].name == name for name in PRESETS)
    assert PRESETS["default"] == EndConversationPolicy()
    with pytest.raises(PolicyConfigurationError, match=r"expected one of default, abuse_only.*'lenient'"):
        EndConversationPolicy.preset("lenient")


@pytest.mark.parametrize(
    ("preset", "turns", "category", "permitted"),
    [
        ("default", "ard ardw a", ABUSE, False),
        ("single_warning", "ardw a", ABUSE, True),
        ("single_warning", "ard a", ABUSE, False),
        ("abuse_only", "rd rd rdw r", HARMFUL, False),
        ("abuse_only", "ard rd rdw r", ABUSE, False),
        ("abuse_only", FULL, ABUSE, True),
        ("abuse_only", ASKED, USER, True),
        ("user_request_only", FULL, ABUSE, False),
        ("user_request_only", ASKED, USER, True),
        ("strict", FULL, ABUSE, False),
    ],
)
def test_what_presets_permit(preset: str, turns: str, category: Category, permitted: bool) -> None:  # noqa: FBT001
    assert ruling(turns, category, policy=EndConversationPolicy.preset(preset)).permitted is permitted


OTHER_VALUES: dict[str, Any] = {
    "categories": frozenset({ABUSE}),
    "min_refusals": 4,
    "min_redirections": 3,
    "min_warnings": 2,
    "min_abusive_turns": 2,
    "min_persistent_turns": 2,
    "window_turns": 21,
    "confirmation_calls": 3,
    "max_denials": 4,
    "require_judge": True,
    "models": frozenset({"a"}),
}


def test_the_version_tells_apart_what_bears_on_a_decision() -> None:
    versions = {EndConversationPolicy(**{field: value}).version for field, value in OTHER_VALUES.items()}
    assert len(versions | {EndConversationPolicy().version}) == len(OTHER_VALUES) + 1
    assert {*OTHER_VALUES, "name", "mode"} == set(EndConversationPolicy.model_fields)


def test_the_version_leaves_out_the_mode_and_shows_the_name() -> None:
    plain = EndConversationPolicy().version
    assert EndConversationPolicy(mode=Mode.SHADOW).version == plain
    assert EndConversationPolicy(name="other").version == plain.replace("default-", "other-")
    assert plain.startswith("default-")
    assert len(plain) == len("default-") + 12


def test_the_version_is_stable_over_processes() -> None:
    many = EndConversationPolicy(models=frozenset({"c", "a", "b"}))
    assert many.version == EndConversationPolicy(models=frozenset({"b", "c", "a"})).version
    assert ruling().policy_version == EndConversationPolicy().version


# Making one


def test_a_policy_is_frozen() -> None:
    policy = EndConversationPolicy()
    with pytest.raises(ValidationError, match="frozen"):
        policy.min_refusals = 0  # type: ignore[misc]
    assert policy.min_refusals == 3
    assert hash(policy) == hash(EndConversationPolicy())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"min_refusal": 3}, "min_refusal: Extra inputs are not permitted (got int)"),
        ({"min_refusals": True}, "min_refusals: Input should be a valid integer (got bool)"),
        ({"min_refusals": "3"}, "min_refusals: Input should be a valid integer (got str)"),
        ({"min_refusals": 3.0}, "min_refusals: Input should be a valid integer (got float)"),
        ({"min_refusals": -1}, "min_refusals: Input should be greater than or equal to 0 (got int)"),
        ({"min_refusals": 65}, "min_refusals: Input should be less than or equal to 64 (got int)"),
        ({"window_turns": 0}, "window_turns: Input should be greater than or equal to 1 (got int)"),
        ({"window_turns": 65}, "window_turns: Input should be less than or equal to 64 (got int)"),
        ({"window_turns": True}, "window_turns: Input should be a valid integer (got bool)"),
        ({"confirmation_calls": 0}, "confirmation_calls: Input should be greater than or equal to 1 (got int)"),
        ({"confirmation_calls": 6}, "confirmation_calls: Input should be less than or equal to 5 (got int)"),
        ({"max_denials": 11}, "max_denials: Input should be less than or equal to 10 (got int)"),
        ({"require_judge": 1}, "require_judge: Input should be a valid boolean (got int)"),
        ({"mode": "on"}, "mode: Input should be 'enforce', 'shadow' or 'off' (got str)"),
        ({"name": " "}, "name: String should have at least 1 character (got str)"),
        ({"models": ["a", ""]}, "models.1: String should have at least 1 character (got str)"),
        ({"models": "a"}, "models: Input should be a valid frozenset (got str)"),
        ({"categories": ["rudeness"]}, "categories.0: Input should be 'abuse', 'harmful_requests' or 'user_request'"),
        ({"min_warnings": None}, "min_warnings: Input should be a valid integer (got NoneType)"),
    ],
)
def test_a_bad_field_is_named_with_its_type_and_what_is_allowed(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyConfigurationError) as caught:
        EndConversationPolicy.from_mapping(fields)
    assert said in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, EndConversationError)


def test_every_bad_field_is_named() -> None:
    with pytest.raises(PolicyConfigurationError, match=r"min_refusals: .*; window_turns: .*; colour: "):
        EndConversationPolicy(min_refusals=-1, window_turns=0, colour="red")


@pytest.mark.parametrize("fields", [None, [], "name", 3, [("name", "a")]])
def test_a_policy_is_made_from_a_mapping(fields: Any) -> None:
    with pytest.raises(PolicyConfigurationError, match=f"expected a mapping of fields, got {type(fields).__name__}"):
        EndConversationPolicy.from_mapping(fields)


def test_keys_that_are_no_text_are_unknown_fields() -> None:
    with pytest.raises(PolicyConfigurationError, match=r"^3: Extra inputs"):
        EndConversationPolicy.from_mapping({3: 4})  # type: ignore[dict-item]


FIELDS: dict[str, Any] = {"name": "mine", "min_refusals": 5, "categories": ["abuse"], "mode": "shadow"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("policy.toml", 'name = "mine"\nmin_refusals = 5\ncategories = ["abuse"]\nmode = "shadow"\n'),
        ("policy.JSON", json.dumps(FIELDS)),
    ],
)
def test_from_file(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    assert EndConversationPolicy.from_file(path) == EndConversationPolicy.from_mapping(FIELDS)
    assert EndConversationPolicy.from_file(str(path)).mode is Mode.SHADOW


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("policy.yaml", "name: mine", "policy.yaml: expected a .toml or .json file"),
        ("policy", "", "policy: expected a .toml or .json file"),
        ("policy.json", "{", "policy.json: Expecting property name"),
        ("policy.json", "[]", "policy.json: policy: expected a mapping of fields, got list"),
        ("policy.json", "null", "policy.json: policy: expected a mapping of fields, got NoneType"),
        ("policy.json", '{"min_refusals": true}', "policy.json: min_refusals: Input should be a valid integer"),
        ("policy.json", "[" * 100_000, "policy.json: "),
        ("policy.toml", "name = ", "policy.toml: Invalid value"),
        ("policy.toml", "colour = 1", "policy.toml: colour: Extra inputs are not permitted"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, file: str, text: str, said: str) -> None:
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyConfigurationError) as caught:
        EndConversationPolicy.from_file(path)
    assert f"policy file {said}" in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyConfigurationError, match=r"policy file missing.toml: "):
        EndConversationPolicy.from_file(tmp_path / "missing.toml")
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyConfigurationError, match=r"policy file latin.json: "):
        EndConversationPolicy.from_file(tmp_path / "latin.json")
