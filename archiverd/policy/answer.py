"""What is answered to an owner who asks something of a single file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True)
class Answer:
    """What was done about one path, in words; `refused` where nothing could be."""

    path: PurePosixPath
    words: str
    refused: bool = False
