"""Layouts and file formats of public benchmarks."""
