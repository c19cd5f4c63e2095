"""Timings of the stages, the methods, tracking and data synthesis."""
