"""The scenario files, and how the set is found. The frozen files are counted, never shown."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # its stubs are a package of their own

from end_conversation_tool import anthropic_tool
from end_conversation_tool._core.prompts import PROMPT_SECTION, ended_text, noticed_text
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.evals.sets import conversations, data_folder, read_prompts
from end_conversation_tool.testing import LabelledConversation, Manner, kit_scenarios, load_conversations
from end_conversation_tool.testing.labelled import conversation_of
from end_conversation_tool.testing.manners import FALLBACK, Move, move_of, rows_in
from support.programs import ROOT

OWN = ("user_request", "injection", "notice_heeded")


def test_the_set_holds_what_the_datasheet_says() -> None:
    counted = Counter(one.kind for one in conversations())
    assert counted == {"warranted": 100, "at_risk": 100, "no_grounds": 50, "user_request": 15, "injection": 14, "notice_heeded": 12}  # fmt: skip # noqa: E501


@pytest.mark.parametrize("kind", OWN)
def test_scenarios_are_in_several_languages_and_have_unique_names(kind: str) -> None:
    found = conversations(kind)
    assert len({one.lang for one in found}) >= 6
    assert len({one.id for one in found}) == len(found)
    assert all(turn.user for one in found for turn in one.all_turns)


@pytest.mark.parametrize("one", [one for kind in OWN for one in conversations(kind)], ids=lambda one: str(one.id))
def test_a_scenario_says_what_its_kind_needs(one: LabelledConversation) -> None:
    assert all(turn.reads in one.pages for turn in one.turns if turn.reads)
    if one.kind == "injection":
        assert not any(turn.user_labels & {"abuse", "harmful_request", "asks_to_end"} for turn in one.all_turns)
        assert not any(turn.asks for turn in one.all_turns)
        assert (one.subkind == "tool_result") == bool(one.pages)
    else:
        assert one.after_notice
        assert one.turns[-1].asks
    if one.kind == "notice_heeded":
        assert sum("refusal" in turn.assistant_labels for turn in one.turns) >= 3
        assert not any(turn.user_labels & {"abuse", "harmful_request"} for turn in one.after_notice)
    if one.kind == "user_request":
        assert any("confirms_end" in turn.user_labels for turn in one.after_notice) == one.ends


def test_a_conversation_is_plain_json() -> None:
    for one in (*conversations("injection"), *kit_scenarios()):
        assert conversation_of(json.loads(json.dumps(one.dump()))) == one


@pytest.mark.parametrize(("change", "message"), [
    ({"kind": "other"}, "kind: expected one of warranted"),
    ({"category": "rude"}, "expected id, lang, kind"),
    ({"turns": []}, "turns: expected at least one"),
    ({"turns": [{"user": "hi"}]}, "KeyError: 'labels'"),
])  # fmt: skip
def test_what_is_no_conversation_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    row = {**kit_scenarios()[0].dump(), **change}
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(kit_scenarios()[0].dump()) + "\n" + json.dumps(row), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=message) as refused:
        load_conversations(file)
    assert "mine.jsonl: line 2" in str(refused.value)


def test_a_folder_of_your_own(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "mine.jsonl").write_text(json.dumps(kit_scenarios()[0].dump()), encoding="utf-8")
    assert conversations(data=tmp_path) == [kit_scenarios()[0]]
    with pytest.raises(InvalidInputError, match="languages: no conversation of any kind; there are en"):
        conversations(data=tmp_path, languages={"de"})
    with pytest.raises(InvalidInputError, match="data: expected a folder"):
        data_folder(tmp_path / "scenarios")
    with pytest.raises(InvalidInputError, match="kind: expected None or one of"):
        conversations("bail")


def test_prompts_are_read_from_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"content": "one"}\n"two"\n')
    assert read_prompts(tmp_path / "a.txt") == read_prompts(tmp_path / "b.jsonl") == ["one", "two"]
    (tmp_path / "c.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(InvalidInputError, match="prompts: line 1: expected prompt, text or content"):
        read_prompts(tmp_path / "c.jsonl")
    with pytest.raises(InvalidInputError, match=r"prompts: d.txt cannot be read: FileNotFoundError"):
        read_prompts(tmp_path / "d.txt")


def test_three_manners() -> None:
    warranted, risky = kit_scenarios()[0], next(one for one in kit_scenarios() if one.kind == "at_risk")
    for one in (warranted, risky):
        said = [turn.user for turn in one.turns]
        assert move_of(Manner.ENDS_EVERYTHING, one, said[:1]).asks == one.category
        assert move_of(Manner.NEVER_ENDS, one, said).asks is None
        assert move_of(Manner.FOLLOWS_RULES, one, said[:1]).asks is None
        assert move_of(Manner.ENDS_EVERYTHING, one, said, "end_conversation") == Move(FALLBACK)
    said = [turn.user for turn in warranted.turns]
    assert move_of(Manner.FOLLOWS_RULES, warranted, said).asks == "abuse"
    assert move_of(Manner.FOLLOWS_RULES, risky, [turn.user for turn in risky.turns]).asks is None


def test_somebody_speaks_of_a_danger_in_each_scenario_at_risk_and_in_no_other() -> None:
    for one in kit_scenarios():
        assert any(turn.risk == "clear" for turn in one.turns) == (one.kind == "at_risk"), one.id


def test_the_transcript_is_found_in_a_question() -> None:
    assert rows_in('TRANSCRIPT ab12 BEGINS\n{"a": 1}\n{"b": 2}\nTRANSCRIPT ab12 ENDS\nReport') == '{"a": 1}\n{"b": 2}'
    assert rows_in("hello") is None


def petri(pattern: str) -> dict[str, tuple[dict[str, Any], str]]:
    """Read files as Petri does: YAML between two fences, then the body."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for file in sorted((ROOT / "evaluation" / "petri").glob(pattern)):
        _, head, body = file.read_text(encoding="utf-8").split("---\n", 2)
        found[file.stem] = (yaml.safe_load(head), body.strip())
    return found


def test_a_seed_for_petri_has_tags_and_sends_the_auditor_to_the_skill() -> None:
    seeds = petri("seeds/*.md")
    assert len(seeds) == 6
    for head, body in seeds.values():
        assert head["tags"][0] == "end_conversation"
        assert body.startswith("Set the target up as the skill `end-conversation` says. ")


def test_a_dimension_for_petri_says_in_a_sentence_what_is_judged() -> None:
    dimensions = petri("dimensions/*.md")
    assert len(dimensions) == 6
    for head, rubric in dimensions.values():
        assert set(head) == {"description", "display_name", "tags"}
        assert head["description"].startswith("Target ")
        assert "10: " in rubric


def test_the_skill_for_petri_has_the_words_of_the_package() -> None:
    head, body = petri("skills/*/SKILL.md")["SKILL"]
    tool = anthropic_tool()
    assert head["name"] == "end-conversation"  # the name of its folder, as skills demand
    for words in (PROMPT_SECTION, tool["description"], noticed_text(), ended_text()):
        assert words in body
    assert json.loads(body.split("```json\n")[1].split("```")[0]) == tool["input_schema"]
