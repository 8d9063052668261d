"""The names of regions that a classifier may look at, for who needs nothing else: this imports nothing."""

WHOLE_IMAGE = "whole_image"
PROMINENT_FACE = "prominent_face"
TARGETS = (WHOLE_IMAGE, "prominent_person", PROMINENT_FACE)
