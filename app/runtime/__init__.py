"""Executing a plan: fetch, decode, the engine pool, batches, the cache and the executor."""
