"""The table of kinds: what each built-in kind of the API is called, defaults, allows, refuses and shows.

Everything here is a pure function on plain dicts; the generic handlers drive it through `model.Resource`.
"""
