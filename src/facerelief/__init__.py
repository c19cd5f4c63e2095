"""facerelief."""
