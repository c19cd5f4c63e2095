"""The errors of an evaluation: each one line that names the file, what was expected and what to do.

Tested by tests/lab/evaluation/protocols/test_predictions.py.
"""

from __future__ import annotations

from facerelief.errors import FacereliefError


class EvaluationError(FacereliefError):
    """A prediction, a scan or a folder that cannot be scored."""


class MissingPredictionError(EvaluationError):
    """Nothing was predicted for a case of the set."""
