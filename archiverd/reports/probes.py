"""What this machine can encode with, and why not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING

from archiverd.policy.hardware import Equipment
from archiverd.policy.machine import RenderNode
from archiverd.policy.probing import Probed
from archiverd.reports.words import JsonObject, add_row, safe, table_of

if TYPE_CHECKING:
    from rich.table import Table

_wrapped = partial(wrap, width=80, break_long_words=False, break_on_hyphens=False)


def equipment_lines(equipment: Equipment) -> list[str]:
    """What was found, before anything was tried."""
    nodes = [node.words for node in equipment.nodes] or ["none seen"]
    kernel = f"Linux {equipment.kernel or 'of an unknown release'}, {equipment.place}"
    return safe(
        [
            f"Program: {equipment.ffmpeg.words}",
            *(f"Device:  {node}" for node in nodes),
            f"Drivers: {', '.join(equipment.va_drivers) or 'none found'} (VA-API)",
            f"         {', '.join(equipment.runtimes) or 'none found'} (Quick Sync)",
            f"Kernel:  {kernel}{f', i915.enable_guc={equipment.guc}' if equipment.guc else ''}",
        ]
    )


def probe_table(probed: Iterable[Probed], codec: str) -> Table:
    """Every rung with every kind of footage; one line for a rung that fails in the same way whatever the footage is."""
    table = table_of("rung", "footage", f"to {codec}", "quality as", "speed")
    for _, group in groupby(probed, key=lambda one: one.rung):
        rows = list(group)
        whole = len(rows) > 1 and len({(one.cause, one.reason) for one in rows}) == 1 and not rows[0].usable
        for one in rows[:1] if whole else rows:
            speed = "" if one.speed is None else f"{one.speed:.1f}x"
            control = "" if one.engine is None else one.engine.rate_control.value
            add_row(table, one.rung, "any" if whole else one.kind, "yes" if one.usable else "no", control, speed)
    return table


def probe_lines(probed: Sequence[Probed], hardware: str, *, works: bool) -> list[str]:
    """Why rungs don't work, what to do about it, each once, and whether what is asked for works.

    No line is longer than a narrow terminal, but for a word that is.
    """
    lines: list[str] = []
    for remedy, reasons in _by_remedy(probed).items():
        for reason, failed in reasons.items():
            lines += _wrapped(f"{_names(failed, probed)}: {reason.rstrip('.')}.", subsequent_indent="    ")
        if remedy:
            lines += _wrapped(f"{remedy}.", initial_indent="  ", subsequent_indent="  ")
    best = next((one for one in probed if one.usable), None)
    if best is not None:
        lines.append(f"Best here: {best.rung}{f' on {best.device}' if best.device else ''}.")
    lines.append(f"hardware = {hardware}: {'works' if works else 'does not work'}.")
    return safe(lines)


def _by_remedy(probed: Iterable[Probed]) -> dict[str, dict[str, list[Probed]]]:
    """What failed, by what mends it and then by why, in the order of the table."""
    found: dict[str, dict[str, list[Probed]]] = {}
    for one in probed:
        if not one.usable:
            found.setdefault(one.remedy, {}).setdefault(one.reason, []).append(one)
    return found


def _names(failed: Sequence[Probed], probed: Sequence[Probed]) -> str:
    """Rungs in words, with the footage where they fail with some of it alone."""
    names = []
    for rung, group in groupby(failed, key=lambda one: one.rung):
        kinds = [one.kind.value for one in group]
        some = len(kinds) < sum(one.rung is rung for one in probed)
        names.append(f"{rung} ({', '.join(kinds)})" if some else rung.value)
    return ", ".join(names)


def probe_json(
    equipment: Equipment, probed: Iterable[Probed], codec: str, hardware: str, *, works: bool
) -> JsonObject:  # fmt: skip
    """All of it, as JSON."""
    ffmpeg = equipment.ffmpeg
    return {
        "ffmpeg": {
            "path": ffmpeg.path,
            "version": ffmpeg.version,
            "major": ffmpeg.major or None,
            "flags": list(ffmpeg.flags),
        },
        "devices": [_node_json(node) for node in equipment.nodes],
        "va_drivers": list(equipment.va_drivers),
        "runtimes": list(equipment.runtimes),
        "kernel": equipment.kernel or None,
        "enable_guc": equipment.guc or None,
        "distribution": equipment.distribution or None,
        "place": equipment.place.value,
        "hardware": hardware,
        "codec": codec,
        "works": works,
        "probes": [one.to_json() for one in probed],
    }


def _node_json(node: RenderNode) -> JsonObject:
    return {
        "path": str(node.path),
        "vendor": node.vendor or None,
        "device_id": node.device_id or None,
        "driver": node.driver or None,
        "access": node.access.value,
        "group": node.group or None,
        "mode": f"{node.mode:04o}",
        "generation": node.generation,
    }
