from __future__ import annotations

from pathlib import Path

import pytest

from support.node import install_sdk


@pytest.fixture(scope="session")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with LangGraph's JavaScript client in it."""
    return install_sdk(tmp_path_factory.mktemp("node"))
