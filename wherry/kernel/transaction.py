"""Changes to one nftables table that happen all together or not at all. Pure.

`str(transaction)` is the nft text, one statement a line; `Nft.commit` sends it as one kernel transaction. Statements
keep the order in which they were asked for, and nft needs it: an object is added before what refers to it, and what
refers to it is deleted before the object.
"""

from collections.abc import Iterable
from typing import Self

from wherry.kernel import model
from wherry.kernel.model import Chain, Element, Family, Map, Rule, Set

Object = Chain | Set | Map


class Transaction:
    """Statements about the table `family name`. Methods return the transaction, so that calls can be chained."""

    def __init__(self, family: Family, name: str) -> None:
        self.family: Family = family
        self.table = model.name(name)
        self.statements: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.statements)

    def __str__(self) -> str:
        return "\n".join(self.statements)

    def _say(self, verb: str, word: str, rest: str = "") -> Self:
        self.statements.append(f"{verb} {word} {self.family} {self.table}{rest}")
        return self

    def add_table(self) -> Self:
        """Make the table where it is not there yet."""
        return self._say("add", "table")

    def delete_table(self) -> Self:
        """Remove the table with all in it; it may be missing."""
        # nft before 1.0.7 has no `destroy`; adding first makes the deletion safe within the same transaction.
        return self.add_table()._say("delete", "table")

    def recreate_table(self) -> Self:
        """Make the table empty, whatever was in it: for a first load that replaces all in one step."""
        return self.delete_table().add_table()

    def flush_table(self) -> Self:
        """Empty all chains of the table; sets and maps keep their members."""
        return self._say("flush", "table")

    def add(self, *objects: Object) -> Self:
        """Make chains, sets and maps where they are not there yet; an equal one may exist."""
        for one in objects:
            self._say("add", one.word, f" {model.name(one.name)}{one.body()}")
        return self

    def create(self, *objects: Object) -> Self:
        """Make chains, sets and maps; the transaction fails with EXISTS where one is there."""
        for one in objects:
            self._say("create", one.word, f" {model.name(one.name)}{one.body()}")
        return self

    def delete(self, *objects: Object) -> Self:
        """Remove chains (with their rules), sets and maps; the transaction fails with NOT_FOUND for a missing one."""
        for one in objects:
            if isinstance(one, Chain):
                # A chain may be deleted with rules in it only where they hold no references; flush drops them.
                self._say("flush", one.word, f" {model.name(one.name)}")
            self._say("delete", one.word, f" {model.name(one.name)}")
        return self

    def remove(self, *objects: Object) -> Self:
        """Remove chains, sets and maps that may be missing."""
        for one in objects:
            self.add(one).delete(one)
        return self

    def flush(self, *objects: Object) -> Self:
        """Empty chains, sets and maps."""
        for one in objects:
            self._say("flush", one.word, f" {model.name(one.name)}")
        return self

    def rules(self, *rules: Rule) -> Self:
        """Append rules to their chains."""
        for rule in rules:
            self._say("add", "rule", f" {rule}")
        return self

    def replace_rules(self, chain: Chain, texts: Iterable[str]) -> Self:
        """Make a chain where it is missing and give it these rules and no others."""
        return self.add(chain).flush(chain).rules(*(Rule(chain.name, text) for text in texts))

    def add_elements(self, container: Set | Map, members: Iterable[Element]) -> Self:
        """Add members; of a map, a member that is there with another value makes the transaction fail."""
        listed = list(members)
        if listed:
            self._say("add", "element", f" {model.name(container.name)} {model.elements(listed)}")
        return self

    def delete_elements(self, container: Set | Map, members: Iterable[Element]) -> Self:
        """Remove members by key; the transaction fails with NOT_FOUND for a missing one."""
        keys = [member.key_text() for member in members]
        if keys:
            self._say("delete", "element", f" {model.name(container.name)} {{ {', '.join(keys)} }}")
        return self

    def change_elements(
        self, container: Set | Map, *, delete: Iterable[Element] = (), add: Iterable[Element] = ()
    ) -> Self:
        """Remove members, then add members, so that a key's value can change in one step."""
        return self.delete_elements(container, delete).add_elements(container, add)

    def raw(self, statement: str) -> Self:
        """Append a statement in nft's own words. Raises ValueError for one of several lines."""
        if "\n" in statement:
            raise ValueError("an nft statement is one line")
        self.statements.append(statement)
        return self
