"""Trained heads over embeddings. This package imports app.core only."""
