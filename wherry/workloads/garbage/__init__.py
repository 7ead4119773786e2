"""Garbage collection by owner references.

``graph.py`` who owns whom and what follows from it · ``controller.py`` watches every kind and carries it out.
"""
