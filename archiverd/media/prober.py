"""Finds out what this machine can encode with: by doing it, on tiny clips, and looking at what comes out.

A probe runs the very command of a transcode and proves its output as any archive is proven. That a library is
installed, or that a device says what it can do, shows nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path

from archiverd import __version__
from archiverd.errors import ResourceError, StuckError, TranscodeFailed
from archiverd.media import boxes, hardware, process
from archiverd.media.ffmpeg_progress import Position
from archiverd.media.probe import probe
from archiverd.media.source import Source, declared_frames
from archiverd.media.transcoder import Transcoded, Transcoder
from archiverd.media.verifier import Verifier
from archiverd.policy.clip_info import select
from archiverd.policy.diagnosis import Cause, Diagnosis, diagnose, hangs, no_node, not_usable, software_fails
from archiverd.policy.encoding import EncodeSettings, archived_height
from archiverd.policy.fitness import never_scaled, unfit
from archiverd.policy.hardware import Equipment, candidates, va_driver
from archiverd.policy.machine import Access, RenderNode
from archiverd.policy.probing import Probed
from archiverd.policy.rungs import SOFTWARE, Engine, Kind, Rung, rate_controls
from archiverd.policy.stop import StopToken
from archiverd.policy.verdict import Evidence, Ruling, verdict

OnBegin = Callable[[Rung, Kind], None]

_TAGS = {"archiverd": "probe"}
_DEVICE_S = 20.0  # a device does it in a fraction of one
_SOFTWARE_S = 120.0  # the slowest preset on the smallest machine, beside other work
_NOTHING = Equipment()
_STOP_S = 2.0  # nothing is lost with the output of a probe
# What a tiny clip is taken for: its output may be larger than itself, and bits are counted by what a camera sends.
_AS_IF_BYTES = 1 << 20
_SCALED_TO = 180  # pixels, half of the clips' height: where clips are to be scaled down, so is this one


class Prober:
    """Probes rungs with ffmpeg. Holds nothing between calls; a call blocks until its last ffmpeg is gone.

    `device` is the one node that may be used, None for any. `root` stands before what is looked at; tests move it.
    """

    def __init__(
        self, settings: EncodeSettings, limits: process.Limits, stop: StopToken, *, device: Path | None = None,
        root: Path = Path("/"),
    ) -> None:  # fmt: skip
        self._settings = settings
        self._limits = limits
        self._stop = stop
        self._device = device
        self._root = root

    def equipment(self) -> Equipment:
        """What there is to encode with, as it is now. Raises: StartupError without an ffmpeg; Interrupted."""
        return hardware.look(hardware.find_ffmpeg(self._stop), self._nodes(), self._root)

    def probe(self, rung: Rung, kind: Kind, equipment: Equipment | None = None) -> Probed:
        """Try a rung with one kind of footage: each device, with each rate control, until one works.

        Raises: StartupError without an ffmpeg; ResourceError where the machine fails; Interrupted.
        """
        _ffmpeg()
        if not rung.on_device:
            with _clip(kind, self._stop, self._limits) as source:
                return self._try(SOFTWARE, kind, source, _NOTHING)
        nodes = self._nodes() if equipment is None else equipment.nodes
        if not candidates(rung, nodes):
            return Probed.failed(rung, kind, no_node(equipment or hardware.look(_NOTHING.ffmpeg, nodes, self._root)))
        with _clip(kind, self._stop, self._limits) as source:
            reason = unfit(rung, self._settings_for(rung, source), source.info)
            if reason:
                return Probed.failed(rung, kind, Diagnosis(Cause.NOT_FIT, reason))
            return self._on_nodes(rung, kind, source, equipment or self.equipment())

    def _on_nodes(self, rung: Rung, kind: Kind, source: Source, equipment: Equipment) -> Probed:
        failures = []
        for node in candidates(rung, equipment.nodes):
            probed = self._on_node(rung, kind, source, node, equipment)
            if probed.usable:
                return probed
            failures.append(probed)
        # The likeliest device came first, and why that fails is what somebody wants to know.
        return failures[0] if failures else Probed.failed(rung, kind, no_node(equipment))

    def probe_all(self, equipment: Equipment, on_begin: OnBegin, rungs: Iterable[Rung] = tuple(Rung)) -> list[Probed]:
        """Probe rungs with each kind of footage, and nothing twice that would fail, or hang, all the same.

        Raises: as `probe`.
        """
        found: list[Probed] = []
        for rung in rungs:
            for kind in Kind:
                known = _foretold(rung, found, equipment)
                if known is None:
                    on_begin(rung, kind)
                    known = self.probe(rung, kind, _without_hung(equipment, found))
                found.append(replace(known, rung=rung, kind=kind))
        return found

    def identity(self, rung: Rung) -> str:
        """What a probe of this rung depends on, as one word: another word, another probe. Cheap: starts no program.

        Raises: StartupError without an ffmpeg.
        """
        parts = [__version__, repr(self._settings), repr(self._limits), *hardware.traits([_ffmpeg()])]
        if rung.on_device:
            parts += map(repr, self._nodes())
            parts += hardware.traits(hardware.drivers_and_runtimes(self._root))
            parts.append(hardware.kernel(self._root))
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def machine(self) -> str:
        """What it depends on whether a device that hung, or failed, does so still: also on the boot."""
        parts = [self.identity(Rung.QSV), hardware.boot(self._root)]
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def _nodes(self) -> tuple[RenderNode, ...]:
        if self._device is not None:
            return (hardware.look_at_node(self._device, self._root),)
        return hardware.find_nodes(self._root)

    def _on_node(self, rung: Rung, kind: Kind, source: Source, node: RenderNode, equipment: Equipment) -> Probed:
        refusal = hardware.refusal(node, self._root) if node.access is Access.OPEN else ""
        unusable = not_usable(node, equipment, refusal)
        if unusable is not None:
            return Probed.failed(rung, kind, unusable, str(node.path))
        driver = va_driver(rung, equipment.va_drivers)
        failures: list[Probed] = []
        for control in rate_controls(rung):
            engine = Engine(rung, control, str(node.path), driver)
            probed = self._try(engine, kind, source, equipment)
            if probed.usable or probed.of_device:
                return probed
            failures.append(probed)
        # A quality that is not taken in one way is no news; the first that fails otherwise tells more.
        return next((failed for failed in failures if failed.cause is not Cause.NO_RATE_CONTROL), failures[0])

    def _try(self, engine: Engine, kind: Kind, source: Source, equipment: Equipment) -> Probed:
        """Transcode the clip on an engine, and look at what came of it."""
        node = equipment.node(engine.device)
        with _unnamed("output") as target:
            made = self._transcode(source, target, engine, equipment, node)
            if isinstance(made, Diagnosis):
                return Probed.failed(engine.rung, kind, made, engine.device)
            proof = self._prove(source, target, made)
        if isinstance(proof, Diagnosis):
            return Probed.failed(engine.rung, kind, proof, engine.device)
        return Probed(
            engine.rung, kind, engine, engine.device,
            speed=source.info.duration_s / made.elapsed_s if made.elapsed_s else None,
            likeness=None if proof.likeness is None else proof.likeness.least,
        )  # fmt: skip

    def _transcode(
        self, source: Source, target: int, engine: Engine, equipment: Equipment, node: RenderNode | None
    ) -> Transcoded | Diagnosis:
        rung = engine.rung
        try:
            transcoder = Transcoder(self._settings_for(rung, source), self._short(rung), self._stop)
            return transcoder.transcode(source, target, engine, _TAGS, _ignore)
        except TranscodeFailed as failed:
            if not rung.on_device:
                return software_fails(self._settings.codec, failed.message)
            return diagnose(
                rung, failed.said, ended=failed.message, hung=failed.hung, equipment=equipment, node=node
            )  # fmt: skip
        except StuckError as stuck:
            if not rung.on_device:
                raise
            return hangs(node, stuck.message)

    def _prove(self, source: Source, target: int, made: Transcoded) -> Evidence | Diagnosis:
        """The evidence that the output is the clip, or what is wrong with it."""
        rung = made.engine.rung
        if made.grown_to is not None:
            return Diagnosis(Cause.WRONG_OUTPUT, f"what it wrote is far too large ({made.grown_to} bytes and more)")
        transcoder = Transcoder(self._settings, self._short(Rung.SOFTWARE), self._stop)
        verifier = Verifier(transcoder, self._short(Rung.SOFTWARE), self._stop)
        try:
            frames = made.frames
            if not rung.decodes_strictly:
                frames = transcoder.decode(source.handle, encoded_audio=False, on_position=_ignore).frames
            height = archived_height(source.info.video, self._settings_for(rung, source).max_height)
            evidence = verifier.evidence(
                source, frames, target, os.fstat(target).st_size, height=height,
                on_position=_ignore, compare_pictures=rung.on_device,
            )  # fmt: skip
        except TranscodeFailed as failed:
            return Diagnosis(Cause.WRONG_OUTPUT, f"what it wrote can't be read: {failed.message}")
        ruled = verdict(evidence)
        if ruled.ruling is not Ruling.ARCHIVE:
            return Diagnosis(Cause.WRONG_OUTPUT, f"what it wrote is not the clip: {ruled.reason}")
        return evidence

    def _settings_for(self, rung: Rung, source: Source) -> EncodeSettings:
        """The settings, by which the clip is scaled where clips are to be and the rung would scale it."""
        video, limit = source.info.video, self._settings.max_height
        if limit is None or video is None or never_scaled(rung, video):
            return replace(self._settings, max_height=None)
        return replace(self._settings, max_height=min(limit, _SCALED_TO))

    def _short(self, rung: Rung) -> process.Limits:
        """The limits of a transcode, but for the time."""
        wall_s = _DEVICE_S if rung.on_device else _SOFTWARE_S
        return replace(self._limits, wall_s=min(self._limits.wall_s, wall_s), stop_s=min(self._limits.stop_s, _STOP_S))


def _foretold(rung: Rung, found: Sequence[Probed], equipment: Equipment) -> Probed | None:
    """What a probe need not be made for: the rung fails as a whole, or no device is left that does not hang."""
    same = [probed for probed in found if probed.rung is rung]
    if same and same[-1].of_device:
        return same[-1]
    hung = [probed for probed in found if probed.hung]
    if rung.on_device and hung and not _without_hung(equipment, found).nodes:
        return hung[-1]
    return None


def _without_hung(equipment: Equipment, found: Iterable[Probed]) -> Equipment:
    hung = {probed.device for probed in found if probed.hung}
    return replace(equipment, nodes=tuple(node for node in equipment.nodes if str(node.path) not in hung))


@contextmanager
def _clip(kind: Kind, stop: StopToken, limits: process.Limits) -> Iterator[Source]:
    """The clip of a kind, as a job has its source."""
    content = resources.files("archiverd.media").joinpath("clips", f"{kind.name.lower()}.mp4").read_bytes()
    with _unnamed(kind.name) as handle:
        try:
            os.write(handle, content)
        except OSError as error:
            raise ResourceError(
                f"a clip to try to encode can't be written to the memory: {error.strerror}",
                advice="Look at the free memory",
            ) from error
        info = probe(handle, stop=stop, limits=limits)
        yield Source(handle, _AS_IF_BYTES, declared_frames(boxes.walk(handle)), info, select(info))


@contextmanager
def _unnamed(what: str) -> Iterator[int]:
    """A file in memory that is gone when it is closed, whatever happens."""
    handle = os.memfd_create(f"archiverd-probe-{what}", os.MFD_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _ffmpeg() -> Path:
    return Path(process.find_program("ffmpeg", os.environ.get("PATH", os.defpath)))


def _ignore(position: Position) -> None:
    del position
