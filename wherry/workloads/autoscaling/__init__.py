"""Horizontal pod autoscalers, in a cluster that has no metrics of pods.

``compile.py`` decides and words · ``controller.py`` reads and writes scales. Without metrics an autoscaler keeps its
target between its two bounds and says in its conditions and events why it does no more.
"""
