"""What an archive says of its source, in its own metadata: enough to know it again when the catalog is lost.

The text is a JSON object under the key `archiverd` of the container's metadata. It is written by a transcode; an
archive of the original bytes carries none, for its bytes are the source's. Whoever can upload can write such a text
into a clip: it is a hint to be compared with what stands, and never proof by itself.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from archiverd.policy.tree_path import is_below

TAG = "archiverd"  # the key

_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST = 2**63  # what SQLite and file systems count to


@dataclass(frozen=True, slots=True)
class Told:
    """One archive's words about its source."""

    source: PurePosixPath  # below the source root
    sha256: str
    size: int  # bytes
    mtime_ns: int


def tell(told: Told) -> str:
    """The text of the tag. ASCII: a name that is not UTF-8 survives as escaped surrogates."""
    values = {
        "v": _VERSION,
        "source": os.fspath(told.source),
        "sha256": told.sha256,
        "size": told.size,
        "mtime_ns": told.mtime_ns,
    }
    return json.dumps(values, ensure_ascii=True)


def parse_told(text: str) -> Told | None:
    """What the text of a tag says; None where it is not one of ours, or names a place outside the tree."""
    try:
        values = json.loads(text)
        source, sha256 = values["source"], values["sha256"]
        numbers = (values["size"], values["mtime_ns"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if values.get("v") != _VERSION or not isinstance(source, str) or not is_below(source):
        return None
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        return None
    size, mtime_ns = numbers
    if type(size) is not int or type(mtime_ns) is not int or not 0 <= size < _LARGEST or abs(mtime_ns) >= _LARGEST:
        return None
    return Told(PurePosixPath(source), sha256, size, mtime_ns)
