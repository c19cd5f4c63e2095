"""Errors that facerelief raises on purpose.

Every message is one line that names the file or argument, what was expected, and what to do. The command line
prints that line; any other exception that reaches the user is a bug.

Tested by tests/test_package.py.
"""

from __future__ import annotations


class FacereliefError(Exception):
    """Base of all deliberate errors."""


class ImageError(FacereliefError):
    """An image that cannot be read or used."""


class NoFaceError(FacereliefError):
    """A readable image in which no face was found."""


class VideoError(FacereliefError):
    """A video, camera or track file that cannot be read or used."""


class ModelError(FacereliefError):
    """A face model file with missing, mis-shaped or forbidden content."""


class MeshError(FacereliefError):
    """A mesh file that cannot be read or used."""


class OutputError(FacereliefError):
    """A result that cannot be written (permissions, disk full, already there)."""
