"""Photos with another pose, expression or light, and their background."""

from facerelief.synthesis.edit import Editor, Rendering, edit
from facerelief.synthesis.vocabulary import EXPRESSIONS, LIGHTS, EditError
from facerelief.synthesis.warp import BackgroundWarp, WarpField

__all__ = [
    "EXPRESSIONS",
    "LIGHTS",
    "BackgroundWarp",
    "EditError",
    "Editor",
    "Rendering",
    "WarpField",
    "edit",
]
