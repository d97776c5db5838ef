"""What every test shares."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline for one example: on a busy machine a slow one is no finding.
settings.register_profile("archiverd", deadline=None)
settings.load_profile("archiverd")

# What a shell of this machine may set, and a user's does not: output of children is buffered, as it is there.
os.environ.pop("PYTHONUNBUFFERED", None)
