"""Measures that several evaluations share: errors of faces, confidence intervals, groups of subjects."""
