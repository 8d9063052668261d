"""Loaded models. Every heavy library is imported inside the engine that needs it, when it loads."""
