"""The similarity index: named collections of vectors, kept durably and searched fast."""
