"""Evaluation on rendered images whose 3D shape is known."""
