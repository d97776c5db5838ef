"""Paths below a root, as they come from what may be damaged or forged: a tag, a catalog."""

from __future__ import annotations

import os


def is_below(path: str) -> bool:
    """Whether the text is a plain relative path that leads nowhere but down, and that a file system can hold."""
    if "\0" in path or not path or path.startswith("/"):
        return False
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return False
    return not {"", ".", ".."} & set(path.split("/"))
