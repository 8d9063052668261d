"""The words and the planning: pure code over the standard library, NumPy and pydantic."""
