"""Which objects a list, watch or collective delete is about: label and field selectors of a request."""

from __future__ import annotations

from collections.abc import Callable

from wherry.apiserver.handlers.options import ListOptions
from wherry.apiserver.kinds.model import refuse_bad_request
from wherry.apiserver.served import Served
from wherry.apiserver.storage import Entry
from wherry.kube.selectors import FieldSelector, Selector, SelectorError, parse, parse_fields

Match = Callable[[Entry], bool]
_METADATA = ("metadata.name", "metadata.namespace")


class Selection:
    """A request's selectors. `name` is set where they ask for one object, `match` where there is more to check."""

    __slots__ = ("_fields", "_labels", "_served", "match", "name")

    def __init__(self, served: Served, options: ListOptions) -> None:
        self._served = served
        self._labels = self._parse_labels(options.label_selector)
        self._fields = self._parse_fields(options.field_selector)
        self.name = self._fields.required("metadata.name") or ""
        # A name alone is looked up and needs no matching.
        simple = not self._labels.requirements and all(
            path == "metadata.name" and wanted for path, _, wanted in self._fields.terms
        )
        names = {value for _, value, _ in self._fields.terms}
        self.match: Match | None = None if simple and len(names) <= 1 else self._matches

    @staticmethod
    def _parse_labels(text: str) -> Selector:
        try:
            return parse(text)
        except SelectorError as error:
            raise refuse_bad_request(str(error)) from error

    def _parse_fields(self, text: str) -> FieldSelector:
        try:
            selector = parse_fields(text)
        except SelectorError as error:
            raise refuse_bad_request(f"invalid selector: '{text}'; can't understand '{text}'") from error
        row = self._served.resource
        for path, _, _ in selector.terms:
            if path not in row.field_labels:
                raise refuse_bad_request(row.unknown_field_label(path))
        return selector

    def _matches(self, entry: Entry) -> bool:
        if self._labels.requirements and not self._labels.matches(entry.labels):
            return False
        terms = self._fields.terms
        if not terms:
            return True
        if all(path in _METADATA for path, _, _ in terms):
            return self._fields.matches({"metadata.name": entry.name, "metadata.namespace": entry.namespace})
        return self._fields.matches(self._served.fields(entry))
