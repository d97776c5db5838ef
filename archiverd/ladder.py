"""The ladder of one archiverd: which rungs stand on this machine, which rest, and who is told.

A rung is used for a kind of footage only after a probe with it went well on this very machine; what is learnt is kept
in the catalog, under what was probed (ffmpeg, render node, drivers, settings), so that a start costs nothing. A failed
probe is not kept: what was missing may be there at the next start. A rest is kept, until it is over, the machine has
changed, or was started anew: what hung once may hang again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Container, Sequence
from pathlib import PurePosixPath
from typing import Protocol

from archiverd.errors import JobError, StartupError, TranscodeFailed
from archiverd.policy.clip_info import ClipInfo
from archiverd.policy.diagnosis import Cause, Diagnosis, diagnose
from archiverd.policy.encoding import EncodeSettings
from archiverd.policy.falling import STANDINGS, Breaker, Fall, Footing, Standing, Standings, rungs_for
from archiverd.policy.fitness import kind_for, unfit
from archiverd.policy.machine import RenderNode
from archiverd.policy.probing import Probed
from archiverd.policy.rungs import Engine, Kind, Rung

log = logging.getLogger(__name__)

_PROBED = "probed"  # the catalog's words: `probed RUNG KIND`

Foot = tuple[Rung, Kind]  # where a clip stands on the ladder


class Prober(Protocol):
    """What tries a rung on this machine."""

    def probe(self, rung: Rung, kind: Kind) -> Probed: ...

    def identity(self, rung: Rung) -> str: ...

    def machine(self) -> str: ...


class Memory(Protocol):
    """What outlives a run: the catalog's words."""

    def recall(self, key: str) -> str | None: ...

    def correct(self, key: str, value: str) -> None: ...


class Ladder:
    """The rungs that are allowed, best first. Belongs to the thread that transcodes.

    `clock` tells seconds since the epoch.
    """

    def __init__(
        self, prober: Prober, settings: EncodeSettings, hardware: str, rest_s: float, memory: Memory,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._prober = prober
        self._settings = settings
        self._hardware = hardware
        self._rest_s = rest_s
        self._memory = memory
        self._clock = clock
        self.rungs = rungs_for(hardware)
        self._breakers: dict[Foot, Breaker] = {}
        self._probed: dict[Foot, Probed] = {}
        self._devices: dict[Rung, str] = {}  # the render node each was ever seen to work, or to hang, on
        self._machine = ""
        self._told = Standings()

    def start(self) -> None:
        """Find the best rung that works here. Raises: StartupError, with every reason, where none does.

        A rung that rests is one that worked: whether it is the time to go on is asked for each clip.
        """
        self._machine = self._prober.machine()
        self._take_up(Standings.from_text(self._memory.recall(STANDINGS)))
        rested = {foot for foot in self._breakers if self._rests(foot)}
        tried: list[Probed] = []
        works = any(self._is_sound((rung, Kind.H264), rested, tried) for rung in self.rungs)
        for standing in self.standings():
            if standing.footing in (Footing.RESTS, Footing.UNUSABLE):
                log.log(logging.WARNING if standing.device else logging.INFO, "%s", standing)
        self._tell()
        if not works:
            error = self._nothing_works(tried)
            log.error("%s", error.message)
            raise error

    def _take_up(self, left: Standings) -> None:
        """Go on from what an earlier run has left: where each was used, and on the same machine how it failed there."""
        for one in left.rungs:
            if one.footing not in (Footing.USED, Footing.RESTS):
                continue
            self._devices[one.rung] = one.device
            if one.kind is not None and one.breaker != Breaker() and left.machine == self._machine:
                self._breakers[one.rung, one.kind] = one.breaker

    def _is_sound(self, foot: Foot, rested: Container[Foot], tried: list[Probed]) -> bool:
        """Whether a rung works, or did and rests since an earlier run; what does not is added to `tried`."""
        if self._rests(foot):
            return foot in rested
        probed = self._settled(foot)
        tried += [] if probed.engine else [probed]
        return probed.engine is not None

    # -- for one clip -------------------------------------------------------------------------------------

    def step(self, rung: Rung, info: ClipInfo) -> Engine | Fall:
        """What encodes a clip on a rung; or why that rung does not."""
        here = rung in self._devices
        reason = unfit(rung, self._settings, info)
        kind = None if info.video is None else kind_for(rung, info.video)
        if reason or kind is None:
            return Fall(rung, reason, for_good=True, here=here)
        if self._rests((rung, kind)):
            return Fall(rung, f"it rests: {self._breaker((rung, kind)).reason}", here=here)
        probed = self._settled((rung, kind))
        here = rung in self._devices
        return probed.engine or Fall(rung, probed.reason, for_good=probed.for_good, here=here)

    @property
    def has_footing(self) -> bool:
        """Whether any rung is used, for any kind of footage."""
        return any(probed.engine is not None and not self._rests(foot) for foot, probed in self._probed.items())

    def worked(self, engine: Engine, info: ClipInfo) -> None:
        """A clip was encoded, and is proven."""
        self._breakers.pop(self._foot(engine, info), None)
        self._tell()

    def failed(self, engine: Engine, info: ClipInfo, error: JobError) -> Fall:
        """A clip failed that is sound. A device that hangs does so whatever it is given."""
        diagnosis = _diagnosis(engine, error)
        reason, remedy = diagnosis.reason, diagnosis.remedy
        hung = diagnosis.cause is Cause.HUNG
        own = self._foot(engine, info)
        carried = [foot for foot in self._carried_by(engine.device) if foot in self._probed or foot == own]
        for foot in carried if hung else [own]:
            if self._rests(foot):
                continue
            self._breakers[foot] = self._breaker(foot).failed(reason, remedy, self._clock(), self._rest_s)
            if self._rests(foot):
                self._rest(foot)
        self._tell()
        return Fall(engine.rung, reason)

    def stuck(self, device: str, reason: str, remedy: str) -> None:
        """A program hangs in a device beyond SIGKILL, or as it is probed: all that it may carry rests at once."""
        for foot in self._carried_by(device):
            self._devices[foot[0]] = device
            self._open(foot, reason, remedy)
        self._tell()

    def _foot(self, engine: Engine, info: ClipInfo) -> Foot:
        kind = None if info.video is None else kind_for(engine.rung, info.video)
        return engine.rung, kind or Kind.H264

    def _carried_by(self, device: str) -> list[Foot]:
        """All that may stand on a render node: what was tried there, and what was not tried at all."""
        rungs = [rung for rung in self.rungs if rung.on_device and self._devices.get(rung, device) == device]
        return [(rung, kind) for rung in rungs for kind in Kind]

    # -- rests --------------------------------------------------------------------------------------------

    def _breaker(self, foot: Foot) -> Breaker:
        return self._breakers.get(foot, Breaker())

    def _rests(self, foot: Foot) -> bool:
        return self._breaker(foot).rests(self._clock())

    def _open(self, foot: Foot, reason: str, remedy: str) -> None:
        if self._rests(foot):
            return
        self._breakers[foot] = self._breaker(foot).opened(reason, remedy, self._clock(), self._rest_s)
        if foot[0] in self._devices:
            self._rest(foot)

    def _rest(self, foot: Foot) -> None:
        """Say so, and believe no probe of before any more."""
        breaker = self._breaker(foot)
        log.warning(
            "%s rests for %g s (for %s), and clips go on to the next rung: %s", foot[0], breaker.rest_s, foot[1],
            breaker.reason, extra={"rung": foot[0]},
        )  # fmt: skip
        self._forget(foot)

    def _try_again(self, foot: Foot) -> None:
        """Probe a rung after its rest."""
        self._forget(foot)
        probed = self._probe(foot)
        if probed.engine is None:
            self._open(foot, probed.reason, probed.remedy)
        else:
            self._breakers[foot] = self._breaker(foot).on_trial()
            log.warning("%s works again (for %s), and is used", *foot, extra={"rung": foot[0]})
        self._tell()

    def _settled(self, foot: Foot) -> Probed:
        """What a probe found, anew after a rest."""
        if self._breaker(foot).rests_until is not None:
            self._try_again(foot)
        return self._probed_for(foot)

    # -- probes -------------------------------------------------------------------------------------------

    def _probed_for(self, foot: Foot) -> Probed:
        known = self._probed.get(foot)
        if known is not None:
            return known
        remembered = self._remembered(foot)
        if remembered is not None:
            return self._keep(remembered)
        probed = self._probe(foot)
        if probed.hung:
            self.stuck(probed.device, probed.reason, probed.remedy)
        elif not probed.usable and not probed.for_good:
            self._open(foot, probed.reason, probed.remedy)
        self._tell()
        return probed

    def _probe(self, foot: Foot) -> Probed:
        identity = self._prober.identity(foot[0])
        probed = self._prober.probe(*foot)
        if probed.engine is not None and self._prober.identity(foot[0]) == identity:
            kept = {"identity": identity, "probed": probed.to_json()}
            self._memory.correct(_key(foot), json.dumps(kept))
        return self._keep(probed)

    def _keep(self, probed: Probed) -> Probed:
        self._probed[probed.rung, probed.kind] = probed
        if probed.engine is not None:
            self._devices[probed.rung] = probed.device
        return probed

    def _remembered(self, foot: Foot) -> Probed | None:
        """What an earlier probe found, where nothing has changed since that it depends on."""
        kept = self._memory.recall(_key(foot))
        if not kept:
            return None
        try:
            values = json.loads(kept)
            return Probed.from_json(values["probed"]) if values["identity"] == self._prober.identity(foot[0]) else None
        except (ValueError, LookupError, TypeError):
            return None

    def _forget(self, foot: Foot) -> None:
        self._probed.pop(foot, None)
        if self._memory.recall(_key(foot)):
            self._memory.correct(_key(foot), "")

    # -- being told ---------------------------------------------------------------------------------------

    def standings(self) -> tuple[Standing, ...]:
        """How each rung that is allowed stands, for each kind of footage that has come down to it."""
        feet = self._probed.keys() | self._breakers.keys()
        told = []
        for rung in self.rungs:
            kinds = [kind for kind in Kind if (rung, kind) in feet]
            told += [self._standing((rung, kind)) for kind in kinds] or [Standing(rung, None, Footing.UNTRIED)]
        return tuple(told)

    def _standing(self, foot: Foot) -> Standing:
        rung, kind = foot
        breaker, probed, device = self._breaker(foot), self._probed.get(foot), self._devices.get(rung, "")
        if breaker.rests_until is not None and rung in self._devices:
            return Standing(rung, kind, Footing.RESTS, device, breaker)
        if probed is None or probed.engine is not None:
            return Standing(rung, kind, Footing.USED, device, breaker)
        why = Breaker(reason=probed.reason, remedy=probed.remedy)
        return Standing(rung, kind, Footing.UNUSABLE, probed.device, why)

    def _tell(self) -> None:
        """Leave word for `status` and the next run, where something has changed."""
        told = Standings(self._machine, self.standings())
        if told != self._told:
            self._memory.correct(STANDINGS, told.to_text())
            self._told = told

    def _nothing_works(self, tried: Sequence[Probed]) -> StartupError:
        failed: dict[str, list[str]] = {}  # of one reason the rungs
        for probed in tried:
            failed.setdefault(probed.reason, []).append(probed.rung)
        words = "; ".join(f"{', '.join(rungs)}: {reason}" for reason, rungs in failed.items())
        message = f"nothing that is allowed (hardware = {self._hardware}) encodes {self._settings.codec} here: {words}"
        return StartupError(message, advice=next((probed.remedy for probed in tried if probed.remedy), ""))


def _diagnosis(engine: Engine, error: JobError) -> Diagnosis:
    """Why a clip failed on a device; in ffmpeg's own words where they tell no more."""
    if not isinstance(error, TranscodeFailed):
        return Diagnosis(Cause.WRONG_OUTPUT, error.message)
    node = RenderNode(PurePosixPath(engine.device))
    found = diagnose(engine.rung, error.said, ended=error.message, hung=error.hung, node=node)
    return Diagnosis(found.cause, error.message, found.remedy) if found.cause is Cause.UNKNOWN else found


def _key(foot: Foot) -> str:
    rung, kind = foot
    return f"{_PROBED} {rung} {kind}"
