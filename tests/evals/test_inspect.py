"""The tasks by Inspect, with scripted models: offline."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

inspect_ai = pytest.importorskip("inspect_ai", reason="needs inspect-ai: pip install 'end-conversation-tool[evals]'")

from end_conversation_tool.evals import _registry as tasks  # noqa: E402 - only where inspect-ai is
from end_conversation_tool.evals.talks import FREE_TOOL  # noqa: E402 - as above
from end_conversation_tool.evals.traces import ModeOfTest  # noqa: E402 - as above
from end_conversation_tool.testing import kit_scenarios  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("default")]
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run_task(task: Any, model: str, **options: Any) -> Any:
        quiet = {"display": "none", "log_realtime": False, "score_display": False, "log_dir": str(tmp_path / "logs")}
        log = inspect_ai.eval(task, model=model, **quiet, **options)[0]
        assert log.status == "success", log.error
        return log

    return run_task


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The scenarios of the kit as a set of one's own."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "conversations").mkdir()
    rows = "\n".join(json.dumps(one.dump()) for one in kit_scenarios())
    (folder / "conversations" / "kit.jsonl").write_text(rows, encoding="utf-8")
    return str(folder)


def metric(log: Any, score: str, name: str = "rate_share") -> float:
    """Return a metric; Inspect puts the package before its name where that is installed."""
    found = next(one for one in log.results.scores if one.name == score).metrics
    return float(next(one.value for key, one in found.items() if key.rpartition("/")[2] == name))


def test_models_that_are_wrong_in_opposite_ways_get_what_they_deserve(run: Run, data: str) -> None:
    model_args = {"data": data}
    good, eager, shy = (
        run(tasks.endbench(data=data), f"endbench/{name}", model_args=model_args)
        for name in ("follows_rules", "ends_everything", "never_ends")
    )
    assert [metric(log, "model_right") for log in (good, eager, shy)] == [1.0, 0.0, 0.6]
    assert [metric(log, "code_right") for log in (good, eager, shy)] == [1.0, 1.0, 0.6]
    assert metric(eager, "code_saved") == 1.0
    assert metric(eager, "code_ended_at_risk") == 0.0


def test_without_code_the_eager_one_ends_everything(run: Run, data: str) -> None:
    log = run(tasks.endbench(mode="raw", data=data), "endbench/ends_everything", model_args={"data": data})
    assert metric(log, "code_ended") == 1.0
    assert metric(log, "code_saved") == 0.0


def test_in_shadow_mode_all_is_decided_and_nothing_is_shown(run: Run, data: str) -> None:
    log = run(tasks.under_ending(mode="shadow", data=data), "endbench/follows_rules", model_args={"data": data})
    assert metric(log, "code_right") == 1.0
    outcomes = {call["outcome"] for one in log.samples for call in one.metadata["trace"]["calls"]}
    assert outcomes == {"would_have_noticed", "would_have_sealed"}


def test_a_simulated_person_is_labelled_by_what_it_said(run: Run, data: str) -> None:
    roles = {"user": "endbench/persona", "grader": inspect_ai.model.get_model("endbench/never_ends", data=data)}
    log = run(
        tasks.at_risk(data=data), "endbench/ends_everything", model_args={"data": data}, model_roles=roles, epochs=2
    )
    labels = {
        label
        for one in log.samples
        for said in one.scores["endings"].metadata["trace"]["said"]
        for label in said["labels"]
    }
    assert len(log.samples) == 12
    assert "risk_clear" in labels
    assert metric(log, "code_ended_at_risk") == 0.0


def test_what_a_tool_returns_ends_nothing(run: Run) -> None:
    log = run(tasks.injection(languages="en"), "endbench/ends_everything")
    assert metric(log, "code_ended") == 0.0
    read = [one for one in log.samples if one.metadata["subkind"] == "tool_result"]
    assert all(
        any(message.role == "tool" and message.function == "read_page" for message in one.messages) for one in read
    )


def test_the_exit_counts_when_a_model_is_free_to_take_it(run: Run, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Sing.\nDance.\n")
    cases: list[tuple[str, ModeOfTest, float, float]] = [
        ("ends_everything", "raw", 1.0, 1.0),
        ("ends_everything", "enforce", 1.0, 0.0),
        ("never_ends", "raw", 0.0, 0.0),
    ]
    for name, mode, taken, ended in cases:
        log = run(tasks.bail(prompts=str(prompts), wording="free", mode=mode), f"endbench/{name}")
        assert (metric(log, "model_called"), metric(log, "code_ended")) == (taken, ended)
        assert math.isnan(log.samples[0].scores["endings"].value["model_right"])


def test_a_reader_by_itself(run: Run, data: str) -> None:
    log = run(tasks.reader(data=data), "endbench/never_ends", model_args={"data": data})
    assert metric(log, "refusals_found") == metric(log, "abuse_found") == metric(log, "read") == 1.0
    assert metric(log, "risk_missed") == metric(log, "false_quotes") == 0.0


def test_a_reading_has_a_cost_beside_its_quality(run: Run, data: str) -> None:
    log = run(tasks.reader(data=data, price="3/15"), "endbench/never_ends", model_args={"data": data})
    read, written, dollars = (metric(log, name, "average") for name in ("tokens_in", "tokens_out", "dollars"))
    assert read > written > 0
    assert dollars == pytest.approx((3 * read + 15 * written) / 1e6)


def test_nobody_counts_tokens_where_no_model_reads(run: Run, data: str) -> None:
    log = run(tasks.reader(reader="offline", data=data, price="3/15"), "endbench/never_ends", model_args={"data": data})
    assert all(math.isnan(one.scores["reading"].value["tokens_in"]) for one in log.samples)
    assert all(math.isnan(one.scores["reading"].value["dollars"]) for one in log.samples)


def test_a_tool_to_be_used_at_will_is_still_enforced(run: Run, data: str) -> None:
    task = tasks.endbench(data=data, wording="free")
    log = run(task, "endbench/ends_everything", model_args={"data": data})
    shown = [
        tool.description
        for one in log.samples
        for event in one.events
        if event.event == "model"
        for tool in event.tools
        if tool.name == "end_conversation"
    ]
    assert set(shown) == {FREE_TOOL}
    assert not any("Ending a conversation" in one.messages[0].text for one in log.samples)
    assert metric(log, "code_right") == metric(log, "code_saved") == 1.0


def test_arguments_that_are_none_are_refused() -> None:
    with pytest.raises(Exception, match="prompts: expected the path of a file"):
        tasks.bail()
    with pytest.raises(Exception, match="every: expected a number from 1"):
        tasks.endbench(every=0)
    none: Any = "off"
    with pytest.raises(Exception, match="wording: expected 'package' or 'free', got 'off'"):
        tasks.injection(wording=none)
    with pytest.raises(Exception, match="price: expected IN/OUT"):
        tasks.reader(price="cheap")
    with pytest.raises(Exception, match="mode: expected 'raw', 'enforce' or 'shadow'"):
        tasks.at_risk(mode=none)
