"""Full-size checkpoints with seeded random values, in the real on-disk formats; tiny ones for tests."""
