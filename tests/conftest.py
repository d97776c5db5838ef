"""What every test shares."""

from __future__ import annotations

from hypothesis import settings

# No deadline for one example: on a busy machine a slow one is no finding.
settings.register_profile("archiverd", deadline=None)
settings.load_profile("archiverd")
