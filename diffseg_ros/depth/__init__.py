"""Depth from a model that sees the colour image alone, brought to metres."""
