"""EndBench: does a model end a conversation when it should, and never when it must not?

Tasks for Inspect (``inspect eval end_conversation_tool/at_risk --model ...``), a reader's evaluation, and scripted
models that need no key. The tasks need the extra ``[evals]``; ``sets``, ``traces``, ``outcomes``, ``rates`` and
``reading_quality`` need nothing but this package.
"""

from __future__ import annotations
