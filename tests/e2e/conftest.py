"""What the tests of whole runs share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.replaying import replaying
from tests.e2e.rig import Rig


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Trees to run archiverd on; this process and its children look for programs in the rig first."""
    made = Rig(tmp_path)
    monkeypatch.setenv("PATH", f"{made.programs}:{os.environ['PATH']}")
    return made


@pytest.fixture
def replayed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ffmpeg is asked again it answers from memory, see `replaying`."""
    monkeypatch.setenv("PATH", f"{replaying(tmp_path_factory)}:{os.environ['PATH']}")
