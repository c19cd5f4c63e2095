"""Trained networks in use, and their inputs, also for training: crops, projected coordinates, shading cues."""
