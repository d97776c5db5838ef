"""What the fuzzer found worth keeping, and its neighbours: `./dev fuzz` goes on from there, guided by coverage."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiverd.media.boxes import walk
from archiverd.media.own_tag import read_own_tag
from tests.fuzz.mp4 import contradiction, mutated
from tests.fuzz.targets import CORPUS, MOST_BYTES, MOST_MEMORY, TARGETS, held
from tools.damage import box, words

INPUTS = {target: sorted((CORPUS / target).iterdir()) for target in TARGETS}
SEEDS = {target: [path.read_bytes() for path in paths] for target, paths in INPUTS.items()}


def test_corpus_is_there_and_small() -> None:
    sizes = [path.stat().st_size for paths in INPUTS.values() for path in paths]
    assert all(paths for paths in INPUTS.values())
    assert sum(sizes) <= 200 * 1024
    assert len(sizes) <= 200


@pytest.mark.parametrize(
    ("target", "path"),
    [pytest.param(target, path, id=f"{target}-{path.name[:8]}") for target in TARGETS for path in INPUTS[target]],
)
def test_input_of_the_corpus_is_no_finding(target: str, path: Path) -> None:
    TARGETS[target](path.read_bytes())


def test_corpus_holds_files_that_are_whole_and_others() -> None:
    clean = []
    for data in SEEDS["boxes"]:
        with held(data) as handle:
            clean.append(walk(handle).clean)
    assert {True, False} == set(clean)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(SEEDS["boxes"]), st.integers(0, 2**32 - 1))
def test_changed_file_is_no_finding(data: bytes, seed: int) -> None:
    TARGETS["boxes"](mutated(data, seed, MOST_BYTES))


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "boxes"])
@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.data())
def test_changed_text_is_no_finding(target: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[target]))
    chance = random.Random(data.draw(st.integers(0, 2**32 - 1)))
    changed = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        changed[at : at + chance.randint(0, 3)] = chance.choice((b"", chance.randbytes(1), b"|", b"=", b"/", b"9" * 9))
    TARGETS[target](bytes(changed))


FTYP = box(b"ftyp", b"isom", words(512), b"isom")
MANY = MOST_BYTES // 4 // 8
KINDS = b"".join(words(8, 0x20202020 + number) for number in range(MANY))
LARGE = {
    "mvex": FTYP + box(b"moov", box(b"mvex") * MANY),
    "free": FTYP + box(b"moov", box(b"free") * MANY),
    "mdat": FTYP + box(b"moov") + box(b"mdat") * MANY,
    "moof": FTYP + box(b"moov", box(b"mvex")) + box(b"moof") * MANY,
    "kinds": FTYP + box(b"moov", box(b"udta", box(b"meta", bytes(4), KINDS))),
}


@pytest.mark.parametrize("data", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("read", [walk, read_own_tag])
def test_many_boxes_take_little_memory(read: Callable[[int], object], data: bytes) -> None:
    """Far less than is allowed: what is kept of a box that is of no use grows with the file, up to a million boxes."""
    with held(data) as handle:
        tracemalloc.start()
        try:
            read(handle)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak <= MOST_MEMORY // 4 // 8


def test_second_hand_sees_what_is_not_whole() -> None:
    """What judges the walk is no rubber stamp: a clean file with another chunk offset contradicts its walk."""
    for data in SEEDS["boxes"]:
        with held(data) as handle:
            found = walk(handle)
        at = data.find(b"stco")
        if not found.clean or found.moov_first or at < 0 or found.layout != "progressive":
            continue
        assert not contradiction(data, found)
        wrong = data[: at + 12] + words(4) + data[at + 16 :]
        if contradiction(wrong, found):
            return
    raise AssertionError("it called everything whole")
