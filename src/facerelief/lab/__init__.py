"""The laboratory: training data, networks, evaluation, benchmarks, building of the face model.

Everything here may import the library; nothing of the library imports this.
"""
