"""Nodes that fall silent, what that means for their pods, and pods of nodes that are gone.

``compile.py`` the rules · ``lifecycle.py`` conditions and taints · ``zones.py`` how fast nodes may be cleared ·
``eviction.py`` pods that do not tolerate a taint · ``podgc.py`` pods whose node is gone.
"""
