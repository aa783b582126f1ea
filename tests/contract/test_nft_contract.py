"""What the kernel does with a transaction, and that the fake does the same: each test runs on both."""

from __future__ import annotations

import errno
import ipaddress

import pytest

from netloom.errors import NftError
from netloom.linux.nft import Nft
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddRule,
    AddTable,
    Chain,
    Container,
    DeleteChain,
    DeleteElements,
    DeleteTable,
    Field,
    FlushChain,
    Hook,
    Transaction,
    Verdict,
)
from netloom.testing.fake_nft import FakeNft
from netloom.testing.netns import fresh_netns
from netloom.units import Family

TABLE = "contract"
A, B = (ipaddress.ip_address(f"192.0.2.{n}").packed for n in (1, 2))
DATA = Container(
    "endpoints", (Field.SLOT, Field.ADDRESS, Field.PROTOCOL, Field.PORT), data=(Field.ADDRESS, Field.PORT)
)
VERDICTS = Container("services", (Field.ADDRESS, Field.PROTOCOL, Field.PORT), verdicts=True)
SET = Container("peers", (Field.ADDRESS,))
SLOT_0, SLOT_1 = (0, A, 6, 80), (1, A, 6, 80)
SERVICE = (A, 17, 53)


def tx(*ops):
    return Transaction(Family.V4, TABLE, ops)


GROUND = tx(
    AddTable(),
    *(AddContainer(container) for container in (DATA, VERDICTS, SET)),
    AddChain(Chain("one")),
    AddChain(Chain("two")),
)


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
async def nft(request):
    if request.param == "fake":
        fake = FakeNft()
        await fake.run(GROUND)
        yield fake
        return
    with fresh_netns() as fd, Nft(netns_fd=fd) as kernel:
        await kernel.run(GROUND)
        yield kernel


async def held(nft, container):
    return await nft.elements(Family.V4, TABLE, container)


async def refused(nft, *ops):
    with pytest.raises(NftError) as caught:
        await nft.run(tx(*ops))
    return caught.value.errno


async def test_elements_come_back_as_they_were_put_in(nft):
    elements = {SLOT_0: (B, 8080), SLOT_1: (A, 1), (300, B, 17, 65535): (A, 53)}
    verdicts = {
        SERVICE: Verdict("goto", "one"),
        (B, 6, 80): Verdict("accept"),
        (B, 6, 81): Verdict("drop"),
    }
    await nft.run(
        tx(
            AddElements(DATA, tuple(elements.items())),
            AddElements(VERDICTS, tuple(verdicts.items())),
            AddElements(SET, (((A,), None),)),
        )
    )
    assert await held(nft, DATA) == elements
    assert await held(nft, VERDICTS) == verdicts
    assert await held(nft, SET) == {(A,): None}


async def test_a_failed_transaction_changes_nothing(nft):
    await nft.run(tx(AddElements(DATA, ((SLOT_0, (A, 1)),))))
    ops = (
        AddElements(DATA, ((SLOT_1, (A, 2)),)),
        DeleteElements(DATA, (SLOT_0,)),
        DeleteElements(DATA, ((9, B, 6, 80),)),
    )
    assert await refused(nft, *ops) == errno.ENOENT
    assert await held(nft, DATA) == {SLOT_0: (A, 1)}


async def test_adding_the_same_element_twice_is_no_error(nft):
    for _ in range(2):
        await nft.run(tx(AddElements(DATA, ((SLOT_0, (A, 1)),))))
    assert await held(nft, DATA) == {SLOT_0: (A, 1)}


async def test_adding_a_key_with_another_value_is_refused(nft):
    await nft.run(tx(AddElements(DATA, ((SLOT_0, (A, 1)),))))
    assert await refused(nft, AddElements(DATA, ((SLOT_0, (A, 2)),))) == errno.EEXIST
    assert await held(nft, DATA) == {SLOT_0: (A, 1)}


async def test_a_key_twice_with_two_values_in_one_transaction_is_refused(nft):
    assert await refused(nft, AddElements(DATA, ((SLOT_0, (A, 1)), (SLOT_0, (A, 2))))) == errno.EEXIST
    assert await held(nft, DATA) == {}


async def test_a_verdict_is_not_overwritten_either(nft):
    await nft.run(tx(AddElements(VERDICTS, ((SERVICE, Verdict("goto", "one")),))))
    number = await refused(nft, AddElements(VERDICTS, ((SERVICE, Verdict("goto", "two")),)))
    assert number == errno.EEXIST
    assert await held(nft, VERDICTS) == {SERVICE: Verdict("goto", "one")}


async def test_deleting_and_adding_a_key_in_one_transaction_changes_it(nft):
    await nft.run(tx(AddElements(VERDICTS, ((SERVICE, Verdict("goto", "one")),))))
    await nft.run(
        tx(
            DeleteElements(VERDICTS, (SERVICE,)),
            AddElements(VERDICTS, ((SERVICE, Verdict("goto", "two")),)),
        )
    )
    assert await held(nft, VERDICTS) == {SERVICE: Verdict("goto", "two")}


async def test_deleting_what_is_not_there_is_refused(nft):
    assert await refused(nft, DeleteElements(SET, ((A,),))) == errno.ENOENT
    await nft.run(tx(AddElements(SET, (((A,), None),))))
    await nft.run(tx(DeleteElements(SET, ((A,),))))
    assert await held(nft, SET) == {}


async def test_a_verdict_to_a_chain_that_is_not_there_is_refused(nft):
    number = await refused(nft, AddElements(VERDICTS, ((SERVICE, Verdict("goto", "nowhere")),)))
    assert number == errno.ENOENT
    assert await held(nft, VERDICTS) == {}


async def test_elements_for_a_map_that_is_not_there_are_refused(nft):
    other = Container("other", (Field.ADDRESS,))
    assert await refused(nft, AddElements(other, (((A,), None),))) == errno.ENOENT
    with pytest.raises(NftError) as caught:
        await held(nft, other)
    assert caught.value.errno == errno.ENOENT


async def test_declaring_a_map_again_keeps_its_elements(nft):
    await nft.run(tx(AddElements(DATA, ((SLOT_0, (A, 1)),))))
    await nft.run(tx(AddTable(), AddContainer(DATA)))
    assert await held(nft, DATA) == {SLOT_0: (A, 1)}


async def test_declaring_a_map_with_another_shape_is_refused(nft):
    changed = Container("services", (Field.PROTOCOL, Field.PORT), verdicts=True)
    await refused(nft, AddContainer(changed))
    assert await held(nft, VERDICTS) == {}


async def test_a_chain_that_an_element_leads_to_is_not_deleted(nft):
    await nft.run(tx(AddElements(VERDICTS, ((SERVICE, Verdict("goto", "one")),))))
    assert await refused(nft, DeleteChain("one")) == errno.EBUSY
    await nft.run(tx(DeleteElements(VERDICTS, (SERVICE,))))
    await nft.run(tx(DeleteChain("one")))
    assert await nft.chains(Family.V4, TABLE) == {"two": ()}


async def test_a_chain_that_a_rule_leads_to_is_not_deleted(nft):
    await nft.run(tx(AddRule("two", "goto one")))
    assert await refused(nft, DeleteChain("one")) == errno.EBUSY
    await nft.run(tx(FlushChain("two"), DeleteChain("one")))
    assert await nft.chains(Family.V4, TABLE) == {"two": ()}


async def test_a_rule_that_names_what_is_not_there_is_refused(nft):
    assert await refused(nft, AddRule("two", "goto nowhere")) == errno.ENOENT
    assert await refused(nft, AddRule("two", "ip daddr @nothing drop")) == errno.ENOENT
    assert await refused(nft, AddRule("nowhere", "drop")) == errno.ENOENT


async def test_chains_elements_and_rules_go_in_one_transaction(nft):
    chain = Chain("base", Hook("filter", "forward", 0))
    await nft.run(
        tx(
            AddChain(Chain("three")),
            AddChain(chain),
            AddRule("base", "ip daddr . meta l4proto . th dport vmap @services", "why"),
            AddElements(VERDICTS, ((SERVICE, Verdict("goto", "three")),)),
        )
    )
    assert await nft.chains(Family.V4, TABLE) == {"one": (), "two": (), "three": (), "base": ("why",)}
    assert await held(nft, VERDICTS) == {SERVICE: Verdict("goto", "three")}


async def test_no_table_no_chains(nft):
    await nft.run(tx(AddTable(), DeleteTable()))
    assert await nft.chains(Family.V4, TABLE) is None
    assert await nft.chains(Family.V6, TABLE) is None
    assert await refused(nft, DeleteTable()) == errno.ENOENT


async def test_transactions_on_two_tables_are_one(nft):
    await nft.run(Transaction(Family.V6, TABLE, (AddTable(), AddContainer(SET))))
    v6 = ipaddress.ip_address("2001:db8::1").packed
    good = Transaction(Family.V6, TABLE, (AddElements(SET, (((v6,), None),)),))
    bad = tx(DeleteElements(SET, ((A,),)))
    with pytest.raises(NftError):
        await nft.run(good, bad)
    assert await nft.elements(Family.V6, TABLE, SET) == {}
    await nft.run(good, tx(AddElements(SET, (((A,), None),))))
    assert await nft.elements(Family.V6, TABLE, SET) == {(v6,): None}
    assert await held(nft, SET) == {(A,): None}


async def test_an_empty_transaction_is_nothing(nft):
    await nft.run(tx())
    await nft.run(tx(AddElements(SET, ())))
    assert await held(nft, SET) == {}
