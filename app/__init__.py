"""Sightgraph: tasks over one image, resolved into a shared graph and executed once."""
