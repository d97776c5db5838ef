"""What an archive says of its source, in its own metadata: enough to know it again when the catalog is lost.

The text is a JSON object under the key `archiverd` of the container's metadata. It is written by a transcode; an
archive of the original bytes carries none of ours, for its bytes are the source's. Whoever can upload can write such a
text into a clip, so ours is sealed with a secret of the archive root, which its marker keeps (HMAC, RFC 2104).
"""

from __future__ import annotations

import hashlib
import hmac
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


def tell(told: Told, secret: str) -> str:
    """The text of the tag, sealed. ASCII: a name that is not UTF-8 survives as escaped surrogates."""
    values = {
        "v": _VERSION,
        "source": os.fspath(told.source),
        "sha256": told.sha256,
        "size": told.size,
        "mtime_ns": told.mtime_ns,
        "seal": _seal(told, secret),
    }
    return json.dumps(values, ensure_ascii=True)


def _seal(told: Told, secret: str) -> str:
    content = json.dumps([os.fspath(told.source), told.sha256, told.size, told.mtime_ns], ensure_ascii=True)
    return hmac.new(secret.encode("utf-8"), content.encode("ascii"), hashlib.sha256).hexdigest()


def parse_told(text: str, secret: str) -> Told | None:
    """What the text of a tag says; None where it is not sealed with this secret, for then it is not ours.

    Also None where it names a place outside the tree, or makes no sense.
    """
    try:
        values = json.loads(text)
        source, sha256, seal = values["source"], values["sha256"], values["seal"]
        size, mtime_ns = values["size"], values["mtime_ns"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if values.get("v") != _VERSION or not isinstance(source, str) or not is_below(source):
        return None
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        return None
    if type(size) is not int or type(mtime_ns) is not int or not 0 <= size < _LARGEST or abs(mtime_ns) > _LARGEST:
        return None
    told = Told(PurePosixPath(source), sha256, size, mtime_ns)
    return told if secret and isinstance(seal, str) and _is_sealed(told, seal, secret) else None


def _is_sealed(told: Told, seal: str, secret: str) -> bool:
    return hmac.compare_digest(seal.encode("utf-8", "replace"), _seal(told, secret).encode("ascii"))
