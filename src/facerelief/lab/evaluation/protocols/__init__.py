"""Protocols by which 3D face reconstructions are scored, as steps that can be put together and as presets.

What each preset does, step by step: docs/evaluation.md. All lengths in mm once a file has been read.
"""
