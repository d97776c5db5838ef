"""Whether a value is one that an option takes. Options are lines of words, see `make_tables.py`."""

from __future__ import annotations

import re

from tests.fakes.refusals import Refusal

_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?(([kKMG])(i?))?B?$")
_SCALES = {"": 1, "k": 1000, "K": 1000, "M": 1000**2, "G": 1000**3}
_LIMITS = {
    "INT_MIN": -(2**31), "INT_MAX": 2**31 - 1, "UINT32_MAX": 2**32 - 1, "I64_MIN": -(2**63), "I64_MAX": 2**63 - 1,
    "DBL_MAX": 1.8e308, "-DBL_MAX": -1.8e308, "FLT_MAX": 3.4e38, "-FLT_MAX": -3.4e38,
}  # fmt: skip
_BOOLEANS = {
    **dict.fromkeys(("true", "y", "yes", "enable", "enabled", "on", "1"), 1),
    **dict.fromkeys(("false", "n", "no", "disable", "disabled", "off", "0"), 0),
    **dict.fromkeys(("auto", "-1"), -1),
}
_NUMBERS = ("int", "int64", "uint64", "float", "double")


def check(name: str, value: str, words: str, subject: str) -> None:
    """Raises Refusal `SUBJECT_value_…` where the option `words` does not take a value; `subject` is what has it."""
    _, kind, least, greatest, default, *named = words.split()
    names = dict(part.partition("=")[::2] for part in named)
    if kind == "boolean":
        _check_boolean(name, value, subject, may_be_auto=default == "auto")
    elif kind == "flags":
        _check_flags(name, value, subject, names)
    elif kind in _NUMBERS:
        _check_number(name, value, subject, names, (least, greatest))


def number(value: str, names: dict[str, str] | None = None) -> float | None:
    """What a value says in numbers; None where it is none."""
    told = (names or {}).get(value, value)
    found = _NUMBER.match(told)
    if found is None:
        return None
    scale = _SCALES[found[4] or ""] if not found[5] else 1024 ** ("KMG".index(found[4].upper()) + 1)
    return float(told[: found.start(3)] if found[3] else told.rstrip("B")) * scale


def _check_boolean(name: str, value: str, subject: str, *, may_be_auto: bool) -> None:
    if _BOOLEANS.get(value, -2) < (-1 if may_be_auto else 0):
        raise Refusal("any", f"{subject}_value_not_boolean", {"low_power": name, "7": value})


def _check_flags(name: str, value: str, subject: str, names: dict[str, str]) -> None:
    for part in re.split(r"[+-]", value.lstrip("+-")):
        if part not in names and number(part) is None:
            raise Refusal("any", f"{subject}_value_unknown", _unknown(name, part))


def _check_number(name: str, value: str, subject: str, names: dict[str, str], limits: tuple[str, str]) -> None:
    told = number(value, names)
    if told is None:
        raise Refusal("any", f"{subject}_value_unknown", _unknown(name, value))
    if "-" in limits:
        return
    least, greatest = (_LIMITS[limit] if limit in _LIMITS else float(limit) for limit in limits)
    if least <= told <= greatest:
        return
    samples = {"300.000000": f"{told:f}", "300": value, "[0 - 100]": f"[{least:g} - {greatest:g}]"}
    of_others = {
        "200.000000": f"{told:f}",
        "200": value,
        "0.000000": f"{told:f}",
        "[1 - 2.14748e+09]": samples["[0 - 100]"],
    }
    names_of = dict.fromkeys(("look_ahead_depth", "denoise", "async_depth"), name)
    raise Refusal("any", f"{subject}_value_out_of_range", samples | of_others | names_of)


def _unknown(name: str, value: str) -> dict[str, str]:
    values = dict.fromkeys(("ultrafast", "fine", "nicely"), value)
    return values | dict.fromkeys(("preset", "gpu_copy", "deinterlace"), name)
