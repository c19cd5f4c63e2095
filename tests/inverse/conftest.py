"""Laws are tried on drawn examples; compiled kernels make the first one slow, so no deadline."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("laws", deadline=None)
settings.load_profile("laws")
