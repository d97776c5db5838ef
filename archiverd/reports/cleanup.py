"""What a cleanup will remove, why, and what stays. Sizes are decimal, as the rules name them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from archiverd.policy.model import Place, Tree
from archiverd.policy.naming import printable
from archiverd.policy.retention import Cause, CleanupPlan, Removal, Sum, way_words
from archiverd.policy.words import size_words
from archiverd.reports.words import LISTED, JsonObject, add_row, date_text, safe, table_of

if TYPE_CHECKING:
    from rich.table import Table

_TREES = list(Tree)


@dataclass(slots=True)
class _Group:
    """What goes of one camera, for one reason, in one way."""

    tree: Tree
    camera: str
    cause: Cause
    reason: str
    to_trash: bool
    sum: Sum
    oldest_at: float
    newest_at: float

    @classmethod
    def of(cls, removals: list[Removal]) -> _Group:
        first = removals[0]
        ats = [one.candidate.at for one in removals]
        total = sum((one.candidate.sum for one in removals), Sum())
        return cls(
            first.candidate.tree, first.candidate.camera, first.cause, first.reason, first.to_trash, total,
            min(ats), max(ats),
        )  # fmt: skip


def _groups(plan: CleanupPlan) -> list[_Group]:
    """By tree and camera, and then in the order in which they go."""
    found: dict[tuple[Tree, str, str, bool], list[Removal]] = {}
    for one in plan.removals:
        key = (one.candidate.tree, one.candidate.camera, one.reason, one.to_trash)
        found.setdefault(key, []).append(one)
    groups = [_Group.of(removals) for removals in found.values()]
    return sorted(groups, key=lambda group: (_TREES.index(group.tree), group.camera))


def plan_table(plan: CleanupPlan) -> Table:
    """What goes, a line for each tree, camera and reason. The dates are those from which ages count."""
    table = table_of("tree", "camera", "files", "size", "oldest", "newest", "goes", "why")
    for group in _groups(plan):
        add_row(
            table, group.tree, group.camera, str(group.sum.files), size_words(group.sum.size),
            date_text(group.oldest_at), date_text(group.newest_at), way_words(to_trash=group.to_trash), group.reason,
        )  # fmt: skip
    return table


def plan_lines(plan: CleanupPlan) -> list[str]:
    """The totals of a plan, what stays and why, and what can't be reached."""
    lines = [_going(plan, tree) for tree in Tree if plan.going(tree).files]
    lines = lines or ["Nothing is to go."]
    lines += [f"Stays in the {tree}, {why}: {_amount(kept)}" for tree, why, kept in _in_order(plan.kept)]
    lines += [
        f"Not archiverd's to remove, in the {tree}, {why}: {_amount(there)}"
        for tree, why, there in _in_order(plan.holdings.beside)
    ]
    lines += [f"Not reached: {one.what}: {size_words(one.size)} {_STUCK}" for one in plan.shortfalls]
    if plan.removals:
        lines.append(f"Together {_amount(_total(plan.removals))}: {_ways(plan.removals)}.")
    return safe(lines)


_STUCK = "more would have to go, and what is left may not"


def _going(plan: CleanupPlan, tree: Tree) -> str:
    removals = [one for one in plan.removals if one.candidate.tree is tree]
    return f"To go from the {tree}: {_amount(_total(removals))} of {_amount(plan.holdings.of(tree))}: {_ways(removals)}"


def _ways(removals: Iterable[Removal]) -> str:
    """How many go to the trash, and how many for good."""
    removals = list(removals)
    sums = {way: _total(one for one in removals if one.to_trash is way) for way in (True, False)}
    found = [(way, total) for way, total in sums.items() if total.files]
    if len(found) == 1:
        return f"all {way_words(to_trash=found[0][0])}"
    return ", ".join(f"{_amount(total)} {way_words(to_trash=way)}" for way, total in found)


def _total(removals: Iterable[Removal]) -> Sum:
    return sum((one.candidate.sum for one in removals), Sum())


def _amount(of: Sum) -> str:
    return f"{of.files} file{'' if of.files == 1 else 's'} ({size_words(of.size)})"


def _in_order(sums: Mapping[tuple[Tree, str], Sum]) -> Iterator[tuple[Tree, str, Sum]]:
    for (tree, why), of_why in sorted(sums.items(), key=lambda item: (_TREES.index(item[0][0]), item[0][1])):
        if of_why.files:
            yield tree, why, of_why


def removal_lines(plan: CleanupPlan) -> list[str]:
    """What goes one by one, in the order in which it goes."""
    lines = []
    for one in plan.removals:
        what, beside = one.candidate, len(one.candidate.files) - 1
        more = f" and {beside} beside it" if beside else ""
        lines.append(
            f"{what.tree} {what.path}{more}, {size_words(what.size)}, of {date_text(what.at)}: "
            f"{way_words(to_trash=one.to_trash)}, {one.reason}"
        )
    return safe(lines)


def plan_json(plan: CleanupPlan, *, with_files: bool = False) -> JsonObject:
    """The plan, as JSON; with every file where that is asked for. Times are seconds since the epoch."""
    files = {"files": [_removal_json(one) for one in plan.removals]} if with_files else {}
    return files | {
        "removals": [_group_json(group) for group in _groups(plan)],
        "kept": _sums_json(plan.kept),
        "beside": _sums_json(plan.holdings.beside),
        "shortfalls": [{"what": one.what, "bytes": one.size} for one in plan.shortfalls],
        "totals": {
            tree: {"going": _sum_json(plan.going(tree)), "there": _sum_json(plan.holdings.of(tree))} for tree in Tree
        },
    }


def _removal_json(one: Removal) -> JsonObject:
    what = one.candidate
    beside = [printable(name) for name, _ in what.files[1:]]
    return {
        "tree": what.tree, "path": printable(what.path), "beside": beside, "camera": printable(what.camera),
        "at": what.at, "bytes": what.size, "to_trash": one.to_trash, "cause": one.cause, "reason": one.reason,
    }  # fmt: skip


def _group_json(group: _Group) -> JsonObject:
    return {
        "tree": group.tree,
        "camera": printable(group.camera),
        **_sum_json(group.sum),
        "oldest_at": group.oldest_at,
        "newest_at": group.newest_at,
        "to_trash": group.to_trash,
        "cause": group.cause,
        "reason": group.reason,
    }


def _sums_json(sums: Mapping[tuple[Tree, str], Sum]) -> list[JsonObject]:
    return [{"tree": tree, "why": why, **_sum_json(of_why)} for tree, why, of_why in _in_order(sums)]


def _sum_json(of: Sum) -> JsonObject:
    return {"files": of.files, "bytes": of.size}


# -- what came of it --------------------------------------------------------------------------------------


def cleaned_lines(removed: Mapping[tuple[Tree, str, bool], Sum], refused: Mapping[Place, str]) -> list[str]:
    """What was removed, by tree and reason, and what could not be."""
    lines = [
        f"Gone from the {tree} {way_words(to_trash=to_trash)}, {why}: {_amount(of_why)}"
        for (tree, why, to_trash), of_why in _by_tree(removed)
    ]
    lines = lines or ["Nothing was removed."]
    if any(to_trash for _, _, to_trash in removed):
        lines.append("What went to the trash can be taken back: archiverd trash list, archiverd trash restore")
    lines += [
        f"Could not be removed from the {place.tree}: {place.path}: {why}"
        for place, why in islice(refused.items(), LISTED)
    ]
    lines += [f"  and {len(refused) - LISTED} more, which the log names"] if len(refused) > LISTED else []
    return safe(lines)


def _by_tree(removed: Mapping[tuple[Tree, str, bool], Sum]) -> list[tuple[tuple[Tree, str, bool], Sum]]:
    return sorted(removed.items(), key=lambda item: (_TREES.index(item[0][0]), *item[0][1:]))


def removed_json(removed: Mapping[tuple[Tree, str, bool], Sum]) -> list[JsonObject]:
    """What was removed, as JSON."""
    return [
        {"tree": tree, "why": why, "to_trash": to_trash, **_sum_json(of_why)}
        for (tree, why, to_trash), of_why in _by_tree(removed)
    ]


def refused_json(refused: Mapping[Place, str]) -> list[JsonObject]:
    """What could not be removed, as JSON."""
    return [
        {"tree": place.tree, "path": printable(place.path), "why": printable(why)} for place, why in refused.items()
    ]
