"""Commands of the ``facechain`` program; composition roots."""
