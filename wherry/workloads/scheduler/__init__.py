"""The scheduler: which node each pod runs on.

``model.py`` what is known of pods and nodes · ``requests.py`` resource amounts · ``filters.py``, ``spread.py`` and
``affinity.py`` which nodes can take a pod · ``score.py`` which one is best · ``compile.py`` puts them together ·
``queue.py`` what to try next and when to try again · ``controller.py`` watches, binds and reports.
"""
