from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from wherry.kernel.transaction import Transaction
from wherry.services import names
from wherry.services.content import EMPTY, Content, Uses, arrange, change, digest, render
from wherry.services.model import NO_SERVICE, Backend, Frontend, ServiceState, Target
from wherry.services.readback import UNKNOWN, content_of, version_of

VIP = ip_address("10.43.0.1")
WEB = Frontend(VIP, "tcp", 80)


def state(*hosts, sticky=0, local=(), vip=VIP, drop=False):
    targets = tuple(sorted(Target(ip_address(f"10.42.0.{host}"), 8080) for host in hosts))
    backend = Backend(name="shop/web/http", targets=targets, sticky_seconds=sticky, drop=drop)
    hairpin = frozenset(ip_address(f"10.42.0.{host}") for host in local)
    return ServiceState(addresses=frozenset({vip}), frontends={Frontend(vip, "tcp", 80): backend}, hairpin=hairpin)


def statements(before, after):
    return change(before, after, Transaction("inet", names.TABLE)).statements


values = st.lists(st.sampled_from("abcdefgh"), unique=True).map(tuple)


@given(values, values)
def test_arranging_keeps_what_it_can(before, wanted):
    arranged = arrange(before, wanted)
    assert sorted(arranged) == sorted(wanted)
    changed = sum(old != new for old, new in zip(before, arranged, strict=False)) + abs(len(before) - len(arranged))
    gone, come = len({*before} - {*wanted}), len({*wanted} - {*before})
    assert changed <= max(gone, come) + gone
    if gone <= come:
        assert changed == come


@given(values, values)
def test_arranging_the_same_again_changes_nothing(before, wanted):
    arranged = arrange(before, wanted)
    assert arrange(arranged, wanted) == arranged


def test_one_endpoint_more_is_one_element_and_one_verdict():
    before = render(state(1, 2))
    after = render(state(1, 2, 3), before)
    found = statements(before, after)
    table = f"inet {names.TABLE}"
    assert [line for line in found if "pick-4-tcp-3" not in line or "element" in line] == [
        f"delete element {table} services-4 {{ 10.43.0.1 . tcp . 80 }}",
        f"add element {table} services-4 {{ 10.43.0.1 . tcp . 80 : goto pick-4-tcp-3 }}",
        f"add element {table} endpoints-4-tcp {{ 10.43.0.1 . 80 . 2 : 10.42.0.3 . 8080 }}",
    ]


def test_the_size_of_a_change_does_not_depend_on_the_number_of_endpoints():
    sizes = []
    for count in (10, 200):
        before = render(state(*range(1, count + 1)))
        after = render(state(*range(2, count + 1)), before)
        elements = [line for line in statements(before, after) if "element" in line]
        sizes.append(sum(line.count(" : ") + line.startswith("delete") for line in elements))
    assert sizes[0] == sizes[1] <= 4


def test_no_change_is_no_statement():
    for one in (state(), state(1, 2, local=[1]), state(1, 2, sticky=60), state(drop=True)):
        content = render(one)
        assert statements(content, render(one, content)) == []


def test_order_that_nft_accepts():
    sticky = render(state(1, 2, sticky=60))
    made = statements(EMPTY, sticky)
    assert [line.split()[1] for line in made] == sorted(
        (line.split()[1] for line in made), key=["set", "chain", "rule", "element"].index
    ) or made.index(next(line for line in made if line.startswith("add rule"))) > max(
        index for index, line in enumerate(made) if line.startswith("add chain")
    )
    unmade = statements(sticky, EMPTY)
    places = {kind: [i for i, line in enumerate(unmade) if line.startswith(kind)] for kind in
              ("delete element", "delete chain", "delete set")}  # fmt: skip
    assert max(places["delete element"]) < min(places["delete chain"])
    assert max(places["delete chain"]) < min(places["delete set"])


def test_shared_things_go_with_their_last_user():
    uses = Uses()
    one, two = render(state(1, local=[1])), render(state(1, local=[1], vip=ip_address("10.43.0.2")))
    _, come = uses.replace([], [one, two])
    hairpin = (names.HAIRPIN[4], ("10.42.0.1", "10.42.0.1"))
    assert hairpin in come.elements
    gone, come = uses.replace([one], [EMPTY])
    assert hairpin not in gone.elements
    assert (names.ADDRESSES[4], ("10.43.0.1",)) in gone.elements
    gone, _ = uses.replace([two], [EMPTY])
    assert hairpin in gone.elements


def test_an_address_passes_from_one_service_to_another_in_one_change():
    uses = Uses()
    old, new = render(state(1)), render(state(2))
    uses.replace([], [old])
    gone, come = uses.replace([old, EMPTY], [EMPTY, new])
    elements = [line for line in statements(gone, come) if "element" in line]
    assert len(elements) == 2
    assert all("endpoints-4" in line for line in elements)


def test_a_service_that_is_gone_needs_nothing():
    assert render(NO_SERVICE) == EMPTY


def test_chains_are_recognised_by_their_digest():
    name, rules = names.pick(4, "tcp", 2)
    wanted = Content(chains={name: rules})

    def objects(comment):
        return [{"chain": {"name": name}}, {"rule": {"chain": name, "comment": comment, "expr": []}}]

    assert content_of(objects(digest(rules)), wanted).chains == {name: rules}
    assert content_of(objects("other"), wanted).chains == {name: UNKNOWN}
    assert content_of(objects(digest(rules)), EMPTY).chains == {name: UNKNOWN}
    assert version_of([{"rule": {"chain": names.VERSION, "comment": "v"}}]) == "v"
    assert version_of([]) == ""


def test_every_base_chain_has_rules_and_every_fixed_chain_is_reached():
    rules = names.fixed_rules(names.Ranges(cluster=("10.42.0.0/16", "fd42::/48")))
    assert set(names.BASE_CHAINS) <= set(rules)
    reached = {word for texts in rules.values() for text in texts for word in text.split()}
    # by elements of the verdict maps
    reached |= {f"{chain}{way}" for chain in ("cluster", "local") for way in names.WAYS}
    assert set(rules) - set(names.BASE_CHAINS) <= reached
    assert not any("saddr !=" in text for text in names.fixed_rules(names.Ranges())["postrouting"])
