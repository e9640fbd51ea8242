"""Eight processes in fifty threads of one PostgreSQL, while these threads are being sealed.

The database itself numbers what is written, inside the locks of the trigger: so it is exact what came after a seal.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, NullPool, create_engine

from support.chats import WARN, guarded, texts_of
from support.damage import execute
from support.savers import open_place
from support.swarm import private_thread, shared_thread, swarm

PROCESSES, THREADS, SECONDS = 8, 50, 12.0

NUMBERING = (
    "CREATE SEQUENCE writes_in_order",
    "ALTER TABLE checkpoints ADD COLUMN written bigint",
    "ALTER TABLE ect_threads ADD COLUMN sealed_at_number bigint",
    """CREATE FUNCTION number_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.written := nextval('writes_in_order'); RETURN NEW; END $$""",
    """CREATE FUNCTION number_seal() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.sealed AND NOT OLD.sealed THEN NEW.sealed_at_number := nextval('writes_in_order'); END IF;
        RETURN NEW;
    END $$""",
    # Triggers fire in order of name: this one after the guard, and so with its lock.
    "CREATE TRIGGER zz_number BEFORE INSERT ON checkpoints FOR EACH ROW EXECUTE FUNCTION number_checkpoint()",
    "CREATE TRIGGER zz_number BEFORE UPDATE ON ect_threads FOR EACH ROW EXECUTE FUNCTION number_seal()",
)

AFTER = """
SELECT c.thread_id, (c.metadata ->> 'end_conversation_run') IS NOT DISTINCT FROM (s.seal ->> 'run_token') AS own
FROM checkpoints AS c
JOIN ect_threads AS t ON t.thread_id = c.thread_id
JOIN LATERAL (SELECT t.state::jsonb -> 'branches' -> 0 -> 'seal' AS seal) AS s ON true
WHERE t.sealed AND c.written > t.sealed_at_number
"""


def query(url: str, sql: str) -> list[Any]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return list(connection.exec_driver_sql(sql).fetchall())


async def test_nothing_is_admitted_after_a_seal(
    postgres: URL, tmp_path: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_place("postgres", postgres, tmp_path, twin=True) as place:
        chat = guarded(place, await place.sealed())
        for number in range(THREADS):
            await chat.say(WARN, shared_thread(number))
        execute(place.url, *NUMBERING)
        began = time.monotonic()
        seen = swarm(place.url, processes=PROCESSES, threads=THREADS, seconds=SECONDS)
        took = time.monotonic() - began

        sealed = {thread: at for process in seen for thread, at in process["sealed"].items()}
        said = [tuple(one) for process in seen for one in process["said"]]
        late = [one for one in said if one[0] in sealed and one[2] > sealed[one[0]]]
        after = Counter(row.own for row in query(place.url, AFTER))
        figures = {
            "processes": PROCESSES,
            "threads": THREADS,
            "operations": len(said) + len(sealed) + sum(one["refused"] + one["stale"] for one in seen),
            "admitted": len(said),
            "refused": sum(one["refused"] for one in seen),
            "overtaken": sum(one["stale"] for one in seen),
            "seals": len(sealed),
            "checkpoints of sealing runs after their seal": after[True],
            "admitted after seal": len(late) + after[False],
            "seconds": round(took, 1),
        }
        record_property("figures", figures)
        with capsys.disabled():
            print(f"\n{figures}")  # noqa: T201
        assert figures["admitted after seal"] == 0
        assert after[True] >= len(sealed), "nothing was numbered after a seal: the test would show nothing"
        assert len(sealed) >= THREADS // 4
        assert figures["refused"] > 0
        await check_threads(place, chat, seen, sealed)


async def check_threads(place: Any, chat: Any, seen: Any, sealed: dict[str, float]) -> None:
    for thread in sealed:
        status = await place.registry.astatus(thread)
        assert status.sealed
        decisions = await place.registry.adecisions(thread)
        assert Counter(str(record.outcome) for record in decisions)["sealed"] == 1
        assert sum(1 for one in await place.registry.ahistory(thread) if str(one.kind) == "sealed") == 1
        state = await chat.state(thread)
        assert state.values["conversation_end"]["ended"] is True
        assert state.next == ()
        shown = [one.config["configurable"]["checkpoint_id"] for one in await chat.history(thread)]
        marks = {
            row.checkpoint_id: row.run
            for row in query(
                place.url,
                "SELECT checkpoint_id, metadata ->> 'end_conversation_run' AS run FROM checkpoints "  # noqa: S608
                f"WHERE thread_id = '{thread}'",
            )
        }
        newer = [marks[one] for one in shown if one > str(status.seal.checkpoint_id)]
        assert newer
        assert set(newer) == {status.seal.run_token}
    everything = {thread for process in seen for thread, _, _ in process["said"]}
    for thread in everything - set(sealed):
        assert not (await place.registry.astatus(thread)).sealed
    for process, one in enumerate(seen):
        texts = texts_of(await chat.state(private_thread(process)))
        assert [text for text in texts if text.startswith("alone")] == one["own"]
        assert len(one["own"]) > 1
