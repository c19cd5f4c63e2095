"""Evaluation on photos without 3D truth."""
