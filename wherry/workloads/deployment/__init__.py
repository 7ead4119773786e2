"""Deployments: replica sets by revision, and the way from one to the next.

``rolling.py`` how many pods each replica set gets · ``revisions.py`` which replica set is which · ``status.py``
conditions and counts · ``compile.py`` one step of the way · ``controller.py`` takes it.
"""
