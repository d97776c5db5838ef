"""What keeps the service's user from its work: in which words, and what mends it."""

from __future__ import annotations

import struct
from pathlib import PurePosixPath

import pytest

from archiverd.policy.permissions import (
    AclEntry,
    Kind,
    Obstacle,
    Tag,
    finding,
    is_masked,
    lets_in,
    of_tomorrow,
    parse_acl,
)

ROOT = PurePosixPath("/my cameras")
PATHS = tuple(ROOT / str(number) for number in range(5))


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        (Kind.UNREACHABLE, "setfacl -m u:archiverd:x '/my cameras/0'"),
        (Kind.SHUT, "setfacl -R -m u:archiverd:rwX -m d:u:archiverd:rwX '/my cameras'"),
        (Kind.STICKY, "find '/my cameras' -xdev -type d -perm -1000 -exec chmod -t {} +"),
        (Kind.OWN, "chown -R archiverd '/my cameras'"),
        (Kind.UNREADABLE, "setfacl -m u:archiverd:r '/my cameras'"),
    ],
)
def test_each_obstacle_has_the_command_that_mends_it(kind: Kind, command: str) -> None:
    paths = PATHS[:1] if kind is Kind.UNREACHABLE else PATHS

    found = finding(Obstacle(kind, ROOT, paths, "exited with 1"), "archiverd")

    assert found.commands == (command,)
    assert found.words.startswith("The user archiverd ")
    assert found.keeps


def test_program_that_does_not_start_is_to_be_installed_elsewhere() -> None:
    found = finding(Obstacle(Kind.PROGRAM, PurePosixPath("/root/x"), said="x exited with 126"), "archiverd")

    assert found.words.startswith("The user archiverd can't start /root/x: x exited with 126. Install it where")
    assert found.keeps


def test_only_some_paths_are_named() -> None:
    words = finding(Obstacle(Kind.SHUT, ROOT, PATHS), "archiverd").words

    assert "/my cameras/2" in words
    assert "/my cameras/3" not in words


def test_file_system_without_owners_is_mounted_for_the_user() -> None:
    found = finding(Obstacle(Kind.SHUT, ROOT, PATHS), "archiverd", knows_owners=False)

    assert "uid=archiverd" in found.words
    assert not found.commands


# -- access control lists -----------------------------------------------------------------------------------------


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_list_is_read_as_the_kernel_writes_it() -> None:
    """`setfacl -m u:993:rwx` on a directory of mode 0750."""
    entries = ("01000700ffffffff", "02000700e1030000", "04000500ffffffff", "10000700ffffffff", "20000000ffffffff")
    value = bytes.fromhex("02000000" + "".join(entries))

    assert AclEntry(Tag.USER, 7, 993) in parse_acl(value)
    assert len(parse_acl(value)) == 5


@pytest.mark.parametrize("value", [b"", b"\x01\0\0\0", b"\x02\0\0\0abc", b"\x02"])
def test_what_is_no_list_has_no_entries(value: bytes) -> None:
    assert parse_acl(value) == ()


@pytest.mark.parametrize(
    ("entries", "open_to"),
    [
        (((Tag.USER, 7, 993), (Tag.MASK, 7, 0)), True),
        (((Tag.USER, 7, 993),), True),
        (((Tag.GROUP, 7, 50), (Tag.MASK, 7, 0)), True),
        (((Tag.USER, 7, 993), (Tag.MASK, 5, 0)), False),
        (((Tag.USER, 5, 993), (Tag.MASK, 7, 0)), False),
        (((Tag.USER, 7, 994), (Tag.GROUP, 7, 51), (Tag.OTHER, 7, 0)), False),
        ((), False),
    ],
)
def test_list_lets_in_whom_it_names_as_far_as_its_mask_does(
    entries: tuple[tuple[int, int, int], ...], open_to: bool
) -> None:
    assert lets_in(parse_acl(acl(*entries)), 993, {50, 993}) is open_to


def test_server_that_masks_what_it_makes_is_told_of() -> None:
    """As pure-ftpd's usual umask, 133:022, leaves a directory whose parent has a default list."""
    made = parse_acl(acl((Tag.USER, 7, 993), (Tag.MASK, 5, 0)))

    assert is_masked(made, 993, {993})
    assert not is_masked(made, 994, {994})
    words = finding(Obstacle(Kind.SHUT, ROOT, PATHS, masked=True), "archiverd").words
    assert "pure-ftpd: Umask 113:002" in words


@pytest.mark.parametrize(
    ("by_acl", "inherited", "seen", "told", "keeps"),
    [
        (True, True, False, False, False),
        (True, False, True, True, True),  # today's is open, and tomorrow's will not be
        (False, False, True, False, False),  # the FTP server made directories there, and they are open
        (False, False, False, True, False),
    ],
)
def test_what_is_uploaded_tomorrow(*, by_acl: bool, inherited: bool, seen: bool, told: bool, keeps: bool) -> None:
    found = of_tomorrow(ROOT, "archiverd", by_acl=by_acl, inherited=inherited, seen=seen)

    assert (found is not None) is told
    assert found is None or found.keeps is keeps
