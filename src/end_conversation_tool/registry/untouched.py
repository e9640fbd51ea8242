"""The state of an ordinary thread: nothing is on record."""

from __future__ import annotations

from functools import lru_cache

from end_conversation_tool._core.records import ThreadStatus


@lru_cache(maxsize=256)
def untouched(thread_id: str) -> ThreadStatus:
    """Return the state of a thread of which nothing is on record; an ordinary turn needs the same one several times.

    That it is kept cannot unseal or unflag: it depends on the id alone, nobody can change it, and whether nothing is
    on record is asked of the registry each time.
    """
    return ThreadStatus(thread_id=thread_id)
