"""Names of Services, EndpointSlices and Pods (https://github.com/kubernetes/dns/blob/master/docs/specification.md).

Objects become `Change` values (``compile``), changes go into a `Zone` in every process that answers (``zone``), and
`answer()` reads it (``lookup``, ``answer``). ``watch`` follows the API server and runs in the back only; the others but
``compile`` are imported by the fronts too and import next to nothing.
"""
