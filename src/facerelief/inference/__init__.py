"""Networks at work and their inputs: crops, projected coordinates, shading cues. Training shares them."""
