"""What goes when, and what never goes."""

from __future__ import annotations

from dataclasses import dataclass

from archiverd.policy.model import Tree


@dataclass(frozen=True, slots=True)
class Rule:
    """What is wanted of some cameras in one tree; what is None is not said."""

    tree: Tree
    cameras: tuple[str, ...] = ("*",)  # globs
    age_s: float | None = None  # what is older goes
    max_bytes: int | None = None  # what these cameras may hold together
    keep_s: float | None = None  # what is younger stays
