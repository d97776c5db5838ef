"""A run that kills its own process at a step: `python -m tests.e2e.killed STEP CONFIG OVERRIDES`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from archiverd.policy.stop import NeverStop
from tests.e2e.rig import run_watched


def main() -> None:
    fatal, config_file, overrides = sys.argv[1:]

    def on_step(step: str) -> None:
        if step == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    run_watched(Path(config_file), json.loads(overrides), on_step, NeverStop())


if __name__ == "__main__":
    main()
