"""What keeps the service's user from its work, and the commands that mend it.

The looking is `archiverd/installer.py`; here are the words, and the reading of access control lists.
"""

from __future__ import annotations

import shlex
import struct
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import PurePosixPath

from archiverd.policy.naming import printable

_SHOWN = 3  # paths that are named as examples
_ACL_VERSION = 2
_ENTRY = struct.Struct("<HHI")


class Kind(StrEnum):
    """What stands in the way."""

    UNREACHABLE = "unreachable"  # a directory above that may not be gone through
    SHUT = "shut"  # uploads that may not be read, or directories that may not be changed
    STICKY = "sticky"  # directories only an owner may remove from
    OWN = "own"  # what archiverd wrote as another user
    UNREADABLE = "unreadable"  # the configuration
    PROGRAM = "program"  # archiverd itself does not start


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something in the way: where it was found, and the directory the remedy is for."""

    kind: Kind
    root: PurePosixPath  # of the tree; the file itself where it is none
    paths: tuple[PurePosixPath, ...] = ()  # some of those it was found at
    said: str = ""  # by a program that did not start
    masked: bool = False  # the user is named there, and whoever made it left it less than that


@dataclass(frozen=True, slots=True)
class Finding:
    """An obstacle in words, and the commands that mend it."""

    words: str
    commands: tuple[str, ...] = ()
    keeps: bool = True  # from the work; else it may, one day


_WORDS = {
    Kind.UNREACHABLE: "may not go through {paths}",
    Kind.SHUT: "may not read, move or remove all that is uploaded into {root}: {paths}",
    Kind.STICKY: "may not remove what is another user's from a directory with the sticky bit: {paths}",
    Kind.OWN: "may not write what archiverd wrote as another user: {paths}",
    Kind.UNREADABLE: "may not read the configuration {root}",
    Kind.PROGRAM: "can't start {root}: {said}. Install it where every user may read it, in /opt for instance",
}


_MASKED = (
    " It is let in there, and the FTP server takes that away again from each directory it makes: have it leave the "
    "group its rights (pure-ftpd: Umask 113:002), else this comes again tomorrow."
)


def finding(obstacle: Obstacle, user: str, *, knows_owners: bool = True) -> Finding:
    """What to say of an obstacle. `knows_owners`: the file system has owners and modes."""
    shown = ", ".join(printable(path) for path in obstacle.paths[:_SHOWN])
    words = _WORDS[obstacle.kind].format(root=printable(obstacle.root), paths=shown, said=obstacle.said)
    if not knows_owners:
        return Finding(
            f"The user {user} {words}. The file system there knows no owners: it is mounted for one user. "
            f"Mount it with the options uid={user},gid={user} (/etc/fstab)."
        )
    cause = _MASKED if obstacle.masked else ""
    return Finding(f"The user {user} {words}.{cause}", tuple(_commands(obstacle, user)))


def _commands(obstacle: Obstacle, user: str) -> Iterable[str]:
    root = shlex.quote(str(obstacle.root))
    match obstacle.kind:
        case Kind.UNREACHABLE:
            return [f"setfacl -m u:{user}:x {' '.join(shlex.quote(str(path)) for path in obstacle.paths)}"]
        case Kind.SHUT:
            return [_open_to(user, root)]
        case Kind.STICKY:
            return [f"find {root} -xdev -type d -perm -1000 -exec chmod -t {{}} +"]
        case Kind.OWN:
            return [f"chown -R {user} {root}"]
        case Kind.UNREADABLE:
            return [f"setfacl -m u:{user}:r {root}"]
        case Kind.PROGRAM:
            return []


def _open_to(user: str, root: str) -> str:
    return f"setfacl -R -m u:{user}:rwX -m d:u:{user}:rwX {root}"


# -- what is uploaded tomorrow ----------------------------------------------------------------------------


class Tag(IntEnum):
    """Whom an entry of an access control list is about. Source: acl(5), linux/posix_acl.h."""

    USER_OBJ = 0x01
    USER = 0x02
    GROUP_OBJ = 0x04
    GROUP = 0x08
    MASK = 0x10
    OTHER = 0x20


@dataclass(frozen=True, slots=True)
class AclEntry:
    """One entry; `number` is a uid or a gid, for those tags that have one."""

    tag: int
    permissions: int  # 4 read, 2 write, 1 go through
    number: int


def parse_acl(value: bytes) -> tuple[AclEntry, ...]:
    """The entries of `system.posix_acl_access` or `…_default`; none where it does not read as one.

    Source: linux/posix_acl_xattr.h.
    """
    if len(value) < 4 or (len(value) - 4) % _ENTRY.size or int.from_bytes(value[:4], "little") != _ACL_VERSION:
        return ()
    return tuple(AclEntry(tag, bits, number) for tag, bits, number in _ENTRY.iter_unpack(value[4:]))


def lets_in(entries: Sequence[AclEntry], uid: int, gids: Collection[int]) -> bool:
    """Whether a list names this user, or one of these groups, and leaves them all rights."""
    return _names(entries, uid, gids) and _mask(entries) == 7


def is_masked(entries: Sequence[AclEntry], uid: int, gids: Collection[int]) -> bool:
    """Whether a list gives them all rights, and its mask takes some away. Source: acl(5), open(2), mkdir(2)."""
    return _names(entries, uid, gids) and _mask(entries) != 7


def _names(entries: Sequence[AclEntry], uid: int, gids: Collection[int]) -> bool:
    return any(
        entry.permissions == 7
        and ((entry.tag == Tag.USER and entry.number == uid) or (entry.tag == Tag.GROUP and entry.number in gids))
        for entry in entries
    )


def _mask(entries: Sequence[AclEntry]) -> int:
    return next((entry.permissions for entry in entries if entry.tag == Tag.MASK), 7)


def of_tomorrow(root: PurePosixPath, user: str, *, by_acl: bool, inherited: bool, seen: bool) -> Finding | None:
    """What to say of the directories the FTP server will make, where all that stands is open.

    `by_acl`: the root is open to the user by an access control list; `inherited`: what is made in it gets the same;
    `seen`: the FTP server has made directories there already, and they are open.
    """
    if inherited or (seen and not by_acl):
        return None
    command = _open_to(user, shlex.quote(str(root)))
    if by_acl:
        words = f"{printable(root)} is open to the user {user}, and what is made in it will not be."
        return Finding(words, (command,))
    words = f"Nothing was uploaded into {printable(root)} yet: whether {user} will be let in can't be seen."
    return Finding(words, (command,), keeps=False)
