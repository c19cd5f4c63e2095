"""Readers of face model files: Basel 2009 to 2019, FLAME, ICT-FaceKit, and our own format."""
