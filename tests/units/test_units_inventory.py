"""An inventory is the same after the catalog has kept it; what is none is not taken for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiverd.policy.inventory import Inventory, Span
from archiverd.policy.model import Tree

trees = st.sampled_from(Tree)
counts = st.integers(0, 2**63 - 1)
moments = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
inventories = st.builds(
    Inventory, moments,
    st.dictionaries(st.tuples(trees, names), st.builds(Span, counts, counts, moments, moments), max_size=4),
    st.dictionaries(trees, st.dictionaries(st.integers(-(10**6), 10**6), counts, max_size=4)),
)  # fmt: skip

ONE = Inventory(
    1_800_000_000.5, {(Tree.ARCHIVE, "front\udcff"): Span(2, 3_000, 1.5, 2.5)}, {Tree.ARCHIVE: {20_000: 3_000}}
)


@given(inventories)
def test_inventory_survives_the_catalog(inventory: Inventory) -> None:
    text = inventory.to_text()

    assert text.isascii()
    assert Inventory.from_text(text) == inventory


@settings(max_examples=30)
@given(
    st.text() | st.none() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps)
)
def test_what_is_no_inventory_is_none(text: str | None) -> None:
    assert Inventory.from_text(text) is None


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("format",), 2),
        (("at",), "soon"),
        (("at",), float("nan")),
        (("at",), 10**400),
        (("cameras",), None),
        (("cameras", 0, 0), "attic"),
        (("cameras", 0, 1), 7),
        (("cameras", 0, 2), -1),
        (("cameras", 0, 3), 1.5),
        (("cameras", 0, 3), True),
        (("cameras", 0, 4), float("inf")),
        (("cameras", 0), ["archive", "front", 1, 1, 1.0]),
        (("days",), []),
        (("days",), {"attic": []}),
        (("days", "archive"), [[1.5, 1]]),
        (("days", "archive"), [[1, -1]]),
        (("days", "archive"), [[1, 2**63]]),
        (("days", "archive"), [[1, 2, 3]]),
    ],
)
def test_inventory_with_nonsense_in_one_place_is_none(where: tuple[str | int, ...], value: object) -> None:
    values: Any = json.loads(ONE.to_text())
    *way, last = where
    place = values
    for step in way:
        place = place[step]
    place[last] = value

    assert Inventory.from_text(json.dumps(values)) is None
