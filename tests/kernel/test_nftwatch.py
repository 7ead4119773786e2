"""Word of changes that others make to a table: what is told, and what is not."""

import asyncio
import subprocess
from collections.abc import AsyncIterator

import pytest

from wherry.kernel.nft import Nft, find_nft
from wherry.kernel.nftwatch import Change, TableWatch

pytestmark = pytest.mark.netns

TABLE = "add table inet ours; add set inet ours numbers { type inet_service; }; add chain inet ours c"
OTHERS = "add table ip ours; add table inet others; add chain inet others c; delete table ip ours"


class Watched:
    """A watch, the owner's nft and somebody else's."""

    def __init__(self) -> None:
        self.calls = 0
        self.called = asyncio.Event()
        self.watch = TableWatch("inet", "ours", self._changed)
        self.owner = Nft(on_processes=self.watch.owners)
        self.other = Nft()

    def _changed(self) -> None:
        self.calls += 1
        self.called.set()

    async def told(self) -> Change:
        async with asyncio.timeout(5):
            await self.called.wait()
        self.called.clear()
        found = self.watch.take()
        assert found is not None
        assert self.watch.take() is None
        return found


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    await made.owner.commit(TABLE)
    yield made
    await made.owner.close()
    await made.other.close()
    made.watch.close()


@pytest.mark.parametrize(
    ("statement", "elements_only"),
    [
        ("add element inet ours numbers { 7 }", True),
        ("add rule inet ours c accept", False),
        ("flush ruleset", False),
        ("add table ip before; add chain ip before c; add rule ip before c drop; delete table inet ours", False),
    ],
)
async def test_changes_by_others_are_told(watched: Watched, statement: str, elements_only: bool) -> None:
    await watched.other.commit(statement)
    found = await watched.told()
    assert found.programs == {"nft"}
    assert found.elements_only is elements_only


async def test_the_owners_changes_and_those_of_other_tables_are_not(watched: Watched) -> None:
    await watched.owner.commit("add element inet ours numbers { 1 }; add rule inet ours c drop")
    # Too large for the long-lived program: one more process of the owner's.
    numbers = "; ".join(f"add element inet ours numbers {{ {number} }}" for number in range(2, 2000))
    await watched.owner.commit(numbers)
    await watched.other.commit(OTHERS)
    # What is told in the end is only what comes last, as the kernel keeps the order.
    await watched.other.commit("add element inet ours numbers { 5000 }")
    found = await watched.told()
    assert watched.calls == 1
    assert found.elements_only


async def test_what_the_socket_could_not_hold_counts_as_a_change(watched: Watched) -> None:
    flood = "\n".join(f"add chain inet others c{number}" for number in range(6000))
    text = f"add table inet others\n{flood}\n"
    # This loop looks at none of its sockets meanwhile.
    subprocess.run([find_nft(), "-f", "-"], input=text, text=True, check=True)  # noqa: ASYNC221
    assert (await watched.told()).programs == set()
