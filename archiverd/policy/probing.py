"""What a probe found: whether a rung works for a kind of footage, on which device and how, or why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from archiverd.policy.diagnosis import Cause, Diagnosis
from archiverd.policy.rungs import Engine, Kind, RateControl, Rung


@dataclass(frozen=True, slots=True)
class Probed:
    """The outcome of one probe. With an engine the rung works; without one there is a cause and a reason."""

    rung: Rung
    kind: Kind
    engine: Engine | None = None
    device: str = ""  # that it was tried on; empty in software, and where there is none
    cause: Cause | None = None
    reason: str = ""
    remedy: str = ""
    speed: float | None = None  # times real time, of a tiny clip, the start of ffmpeg included
    likeness: float | None = None  # SSIM of the least like plane of any frame

    @property
    def usable(self) -> bool:
        return self.engine is not None

    @property
    def of_device(self) -> bool:
        """Whether it would be the same with any footage."""
        return self.cause is not None and self.cause.is_of_device

    @property
    def for_good(self) -> bool:
        """Whether it would be the same another time."""
        return self.cause is not None and self.cause.is_for_good

    @property
    def hung(self) -> bool:
        return self.cause is Cause.HUNG

    @classmethod
    def failed(cls, rung: Rung, kind: Kind, diagnosis: Diagnosis, device: str = "") -> Probed:
        return cls(
            rung, kind, device=device, cause=diagnosis.cause, reason=diagnosis.reason, remedy=diagnosis.remedy
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:  # Any: values of JSON
        """As JSON, from which `from_json` makes it again."""
        engine = self.engine
        return {
            "rung": self.rung.value,
            "kind": self.kind.value,
            "usable": self.usable,
            "device": self.device or None,
            "rate_control": None if engine is None else engine.rate_control.value,
            "driver": None if engine is None else engine.driver,
            "cause": None if self.cause is None else self.cause.value,
            "reason": self.reason or None,
            "remedy": self.remedy or None,
            "of_device": self.of_device,
            "speed": None if self.speed is None else round(self.speed, 3),
            "likeness": None if self.likeness is None else round(self.likeness, 4),
        }

    @classmethod
    def from_json(cls, told: Any) -> Probed:  # Any: what json.loads returns
        """Make it from what `to_json` gave. Raises: ValueError for anything else."""
        try:
            rung, device, engine = Rung(told["rung"]), told["device"] or "", None
            if told["rate_control"] is not None:
                engine = Engine(rung, RateControl(told["rate_control"]), device, str(told["driver"]))
            return cls(
                rung, Kind(told["kind"]), engine, device,
                None if told["cause"] is None else Cause(told["cause"]),
                told["reason"] or "", told["remedy"] or "", told["speed"], told["likeness"],
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(f"no probe: {error}") from error


def works(rungs: Iterable[Rung], probed: Iterable[Probed]) -> bool:
    """Whether any of these rungs takes any kind of footage."""
    asked = set(rungs)
    return any(one.usable for one in probed if one.rung in asked)
