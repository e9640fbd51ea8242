"""A week of simulated traffic, written through the real gate, and its report.

    python benchmarks/week.py [--threads 30000] [--html week.html]

Three policies and three models, on SQLite. The same generator, smaller, is behind the test that counts every number of
the report again from the raw decisions (tests/integration/test_report_week.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from end_conversation_tool.operations.report import build_report
from end_conversation_tool.operations.report_html import report_page
from end_conversation_tool.registry import InMemorySealRegistry, SqlSealRegistry
from support.week import START, simulate


def main() -> None:
    """Simulate, report, and compare the two registries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=30_000)
    parser.add_argument("--html", type=Path)
    options = parser.parse_args()
    until = START + timedelta(days=7)
    reports = []
    with tempfile.TemporaryDirectory() as folder, SqlSealRegistry(f"sqlite:///{folder}/week.db") as stored:
        for name, registry in (("memory", InMemorySealRegistry()), ("SQLite", stored)):
            began = time.perf_counter()
            simulate(registry, options.threads)
            simulated = time.perf_counter() - began
            began = time.perf_counter()
            reports.append(build_report(registry, START, until))
            reported = time.perf_counter() - began
            print(f"{name}: {options.threads:,} threads in {simulated:.1f} s, report in {reported:.2f} s")
    if reports[0] != reports[1]:
        sys.exit("the two registries report different numbers")
    total = reports[0].total
    print(f"{total.decisions:,} decisions, {total.ended_threads:,} threads ended")
    print(f"{total.would_have_ended_threads:,} threads would have ended")
    if options.html:
        options.html.write_text(report_page(reports[0]), encoding="utf-8")


if __name__ == "__main__":
    main()
