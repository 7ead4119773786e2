"""Volumes of pods: what their files hold (pure) and how they get onto the disk."""
