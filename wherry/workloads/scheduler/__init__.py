"""The scheduler: which node each pod runs on.

``model.py`` what is known of pods and nodes · ``requests.py`` resource amounts · ``filters.py``, ``volumes.py``,
``spread.py`` and ``affinity.py`` which nodes can take a pod · ``score.py`` which one is best · ``preemption.py`` who
makes room · ``compile.py`` puts them together · ``queue.py`` what to try next and when to try again · ``view.py``
follows the server · ``writer.py`` writes · ``controller.py`` drives them.
"""
