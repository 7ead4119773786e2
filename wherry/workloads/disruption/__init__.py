"""Pod disruption budgets: how many pods of an application may go at the same time because somebody wants them to.

``compile.py`` counts and decides · ``controller.py`` keeps the budgets' status. The API server's evictions read that
status and note in it what they took (``wherry/apiserver/handlers/eviction.py``).
"""
