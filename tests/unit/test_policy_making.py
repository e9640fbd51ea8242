"""What makes a policy: fields, presets, files, and its version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from end_conversation_tool._core.policy import _GONE, PRESETS, EndConversationPolicy
from end_conversation_tool._core.records import Category, Mode
from end_conversation_tool.errors import EndConversationError, PolicyConfigurationError
from support.decisions import ruling

ABUSE, HARMFUL, USER = Category.ABUSE, Category.HARMFUL_REQUESTS, Category.USER_REQUEST


# Presets, version


def test_presets() -> None:
    assert set(PRESETS) == {"default", "abuse_only", "single_warning", "user_request_only", "strict"}
    assert all(PRESETS[name] is EndConversationPolicy.preset(name) and PRESETS[name].name == name for name in PRESETS)
    assert PRESETS["default"] == EndConversationPolicy()
    with pytest.raises(PolicyConfigurationError, match=r"expected one of default, abuse_only.*'lenient'"):
        EndConversationPolicy.preset("lenient")


OTHER_VALUES: dict[str, Any] = {
    "categories": frozenset({ABUSE}),
    "min_refusals": 4,
    "min_redirections": 3,
    "min_misconduct_turns": 2,
    "require_notice": False,
    "window_turns": 21,
    "min_readers": 2,
    "max_denials": 4,
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
        ({"min_refusals": True}, "min_refusals: Input should be a valid integer (got bool True)"),
        ({"min_refusals": "3"}, "min_refusals: Input should be a valid integer (got str '3')"),
        ({"min_refusals": 3.0}, "min_refusals: Input should be a valid integer (got float 3.0)"),
        ({"min_refusals": None}, "min_refusals: Input should be a valid integer (got NoneType)"),
        ({"min_refusals": "x" * 51}, "min_refusals: Input should be a valid integer (got str)"),
        ({"min_refusals": -1}, "min_refusals: Input should be greater than or equal to 0 (got int -1)"),
        ({"min_refusals": 65}, "min_refusals: Input should be less than or equal to 64 (got int 65)"),
        ({"min_redirections": -1}, "min_redirections: Input should be greater than or equal to 0 (got int -1)"),
        ({"min_redirections": 65}, "min_redirections: Input should be less than or equal to 64 (got int 65)"),
        ({"min_misconduct_turns": 0}, "min_misconduct_turns: Input should be greater than or equal to 1 (got int 0)"),
        ({"min_misconduct_turns": 65}, "min_misconduct_turns: Input should be less than or equal to 64 (got int 65)"),
        ({"min_misconduct_turns": "1"}, "min_misconduct_turns: Input should be a valid integer (got str '1')"),
        ({"require_notice": 1}, "require_notice: Input should be a valid boolean (got int 1)"),
        ({"require_notice": "no"}, "require_notice: Input should be a valid boolean (got str 'no')"),
        ({"require_notice": None}, "require_notice: Input should be a valid boolean (got NoneType)"),
        ({"window_turns": 0}, "window_turns: Input should be greater than or equal to 1 (got int 0)"),
        ({"window_turns": 65}, "window_turns: Input should be less than or equal to 64 (got int 65)"),
        ({"window_turns": True}, "window_turns: Input should be a valid integer (got bool True)"),
        ({"min_readers": 0}, "min_readers: Input should be greater than or equal to 1 (got int 0)"),
        ({"min_readers": 6}, "min_readers: Input should be less than or equal to 5 (got int 6)"),
        ({"min_readers": 2.0}, "min_readers: Input should be a valid integer (got float 2.0)"),
        ({"max_denials": 0}, "max_denials: Input should be greater than or equal to 1 (got int 0)"),
        ({"max_denials": 11}, "max_denials: Input should be less than or equal to 10 (got int 11)"),
        ({"max_denials": "3"}, "max_denials: Input should be a valid integer (got str '3')"),
        ({"mode": "on"}, "mode: Input should be 'enforce', 'shadow' or 'off' (got str 'on')"),
        ({"name": " "}, "name: String should have at least 1 character (got str ' ')"),
        ({"name": "x" * 101}, "name: String should have at most 100 characters (got str)"),
        ({"name": 3}, "name: Input should be a valid string (got int 3)"),
        ({"models": ["a", ""]}, "models.1: String should have at least 1 character (got str '')"),
        ({"models": "a"}, "models: Input should be a valid frozenset (got str 'a')"),
        ({"categories": ["rudeness"]}, "categories.0: Input should be 'abuse', 'harmful_requests' or 'user_request'"),
        ({"categories": None}, "categories: Input should be a valid frozenset (got NoneType)"),
    ],
)
def test_a_bad_field_is_named_with_its_type_and_what_is_allowed(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyConfigurationError) as caught:
        EndConversationPolicy.from_mapping(fields)
    assert said in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, EndConversationError)


REPLACED = {
    "min_warnings": "require_notice",
    "min_abusive_turns": "min_misconduct_turns",
    "min_persistent_turns": "require_notice",
    "confirmation_calls": "require_notice",
    "require_judge": "min_readers",
}
"""Each field of version 0.1 that is gone, and the field to use in its place."""


@pytest.mark.parametrize(("gone", "use"), REPLACED.items())
def test_a_field_that_is_gone_says_what_there_is_in_its_place(gone: str, use: str) -> None:
    with pytest.raises(PolicyConfigurationError, match=rf"^{gone}: gone since version 0\.2; use {use}\b") as caught:
        EndConversationPolicy(**{gone: 1})
    assert "did you mean" not in str(caught.value)
    assert use in EndConversationPolicy.model_fields


def test_every_field_that_is_gone_is_in_the_table() -> None:
    assert set(REPLACED) == set(_GONE)
    assert not set(REPLACED) & set(EndConversationPolicy.model_fields)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("min_refusal", "min_refusals"),
        ("min_redirection", "min_redirections"),
        ("misconduct_turns", "min_misconduct_turns"),
        ("require_notices", "require_notice"),
        ("window", "window_turns"),
        ("model", "models"),
        ("catagories", "categories"),
    ],
)
def test_a_misspelt_field_is_told_the_nearest_one(wrong: str, meant: str) -> None:
    with pytest.raises(PolicyConfigurationError) as caught:
        EndConversationPolicy(**{wrong: 1})
    assert str(caught.value) == f"{wrong}: unknown field, did you mean {meant}?"


def test_a_field_like_no_other_is_told_all_of_them() -> None:
    with pytest.raises(PolicyConfigurationError) as caught:
        EndConversationPolicy(xyzzy=1)
    assert str(caught.value) == f"xyzzy: unknown field; known: {', '.join(EndConversationPolicy.model_fields)}"


# Policies that nobody can mean


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"categories": []}, "categories: expected at least one"),
        ({"min_refusals": 0, "min_redirections": 0}, "min_refusals, min_redirections: expected at least one above 0"),
        ({"window_turns": 3}, "window_turns: expected at least 4 for these counts, got 3"),
        ({"window_turns": 2, "require_notice": False}, "window_turns: expected at least 3 for these counts, got 2"),
        ({"min_redirections": 20}, "window_turns: expected at least 21 for these counts, got 20"),
        ({"min_misconduct_turns": 21, "require_notice": False}, "window_turns: expected at least 21"),
        ({"min_refusals": 64, "window_turns": 64}, "window_turns: expected at least 65 for these counts, got 64"),
    ],
)
def test_a_policy_that_could_never_permit_or_asks_for_nothing_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyConfigurationError) as caught:
        EndConversationPolicy(**fields)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "fields",
    [
        {"window_turns": 4},
        {"window_turns": 3, "require_notice": False},
        {"min_refusals": 0},
        {"min_redirections": 0},
        {"min_refusals": 63, "window_turns": 64},
        {"categories": ["user_request"], "min_refusals": 0, "min_redirections": 0, "window_turns": 1},
    ],
)
def test_the_nearest_policies_that_are_possible(fields: dict[str, Any]) -> None:
    policy = EndConversationPolicy(**fields)
    assert all(getattr(policy, name) == value for name, value in fields.items() if name != "categories")


def test_every_bad_field_is_named() -> None:
    with pytest.raises(PolicyConfigurationError, match=r"min_refusals: .*; window_turns: .*; colour: "):
        EndConversationPolicy(min_refusals=-1, window_turns=0, colour="red")


@pytest.mark.parametrize("fields", [None, [], "name", 3, [("name", "a")]])
def test_a_policy_is_made_from_a_mapping(fields: Any) -> None:
    with pytest.raises(PolicyConfigurationError, match=f"expected a mapping of fields, got {type(fields).__name__}"):
        EndConversationPolicy.from_mapping(fields)


def test_keys_that_are_no_text_are_unknown_fields() -> None:
    with pytest.raises(PolicyConfigurationError, match=r"^3: unknown field; known: name, "):
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
        (
            "policy.json",
            '{"require_judge": true}',
            "policy.json: require_judge: gone since version 0.2; use min_readers",
        ),
        ("policy.json", '{"categories": []}', "policy.json: categories: expected at least one"),
        ("policy.json", "[" * 100_000, "policy.json: "),
        ("policy.toml", "name = ", "policy.toml: Invalid value"),
        ("policy.toml", "colour = 1", "policy.toml: colour: unknown field; known: "),
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
