"""Published protocols that score 3D face reconstructions, as presets made of steps that can be recombined.

docs/evaluation.md describes each preset step by step. All lengths in mm once a file has been read.
"""
