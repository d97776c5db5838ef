"""`python -m tests.fuzz [TARGET...] [--minutes M]`: look for bytes on which archiverd does wrong, by coverage.

Needs atheris, no dependency of archiverd nor of its tests; `./dev fuzz` puts it into an environment of its own.
What is found stands in `--findings`, one file each; give its name to look at it again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_MOST_BYTES = 1 << 18  # of an input; a megabyte takes too long to be changed often
_MOST_MIB = 64  # one may take beyond what the program itself does
_PROGRAM_MIB = 256
_HANGS_S = 60  # by the clock, on a machine that may have more to do
_SLOWER = 6  # archiverd takes so much longer while its coverage is measured
_STRUCTURED = 0.7  # of the changes to boxes are made to boxes, the rest to bytes

_ALONE = "--alone"  # a target in this very process, with libFuzzer's own options

_Mutator = Callable[[bytes, int, int], bytes]


def main() -> int:
    """The command line. Returns the exit code: 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="boxes, probe, names, config (all of them)")
    parser.add_argument("--minutes", type=float, default=5, help="for each target (%(default)s)")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where they go (%(default)s)")
    parser.add_argument("--kept", type=Path, help="a directory for inputs that reached something new (a temporary one)")
    parser.add_argument("--file", type=Path, help="fuzz nothing; try this file alone")
    if sys.argv[1:2] == [_ALONE]:
        return _fuzz(sys.argv[2], sys.argv[3:])
    given = parser.parse_args()
    return max(_in_a_process(target, given) for target in given.targets or ("boxes", "probe", "names", "config"))


def _in_a_process(target: str, given: argparse.Namespace) -> int:
    """libFuzzer ends its process when it is done, or has found something."""
    findings = given.findings.absolute() / target
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="archiverd-fuzz-") as temporary:
        kept = Path(given.kept or temporary) / target
        kept.mkdir(parents=True, exist_ok=True)
        corpus = Path(__file__).parent / "corpus" / target
        options = [
            f"-artifact_prefix={findings}/", f"-max_len={_MOST_BYTES}", f"-timeout={_HANGS_S}",
            f"-rss_limit_mb={_PROGRAM_MIB + _MOST_MIB}", f"-malloc_limit_mb={_MOST_MIB}",
        ]  # fmt: skip
        if given.file:
            options = [*options, str(given.file)]
        else:
            seconds = int(given.minutes * 60)
            options = [*options, f"-max_total_time={seconds}", "-print_final_stats=1", str(kept), str(corpus)]
        print(f"{target}: findings go to {findings}", flush=True)
        return min(subprocess.run([sys.executable, "-m", "tests.fuzz", _ALONE, target, *options]).returncode, 1)


def _fuzz(target: str, options: list[str]) -> int:
    import atheris  # noqa: PLC0415  (instruments what is imported after it)

    with atheris.instrument_imports(include=["archiverd"]):
        from tests.fuzz import targets  # noqa: PLC0415
    from tests.fuzz.mp4 import mutated  # noqa: PLC0415

    targets.LONGEST_S *= _SLOWER

    def boxes_mutated(data: bytes, most_bytes: int, seed: int) -> bytes:
        if data and seed % 1000 < _STRUCTURED * 1000:
            return mutated(data, seed, most_bytes)
        return bytes(atheris.Mutate(data, most_bytes))

    mutators: dict[str, _Mutator] = {"boxes": boxes_mutated}
    own = {"custom_mutator": mutators[target]} if target in mutators else {}
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[target], **own)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
