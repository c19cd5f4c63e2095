"""Trained networks in use, and their inputs in use and training: crops, PNCC images, shading cues."""
