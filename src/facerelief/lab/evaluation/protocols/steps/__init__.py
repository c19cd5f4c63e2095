"""Steps of evaluation protocols: alignment, crops, distances, checks, statistics."""
