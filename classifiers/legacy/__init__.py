"""Classifiers that image_embed trained."""
