"""Names on Milvus: those of two prefixes never meet."""

import re
from itertools import permutations

import pytest

from schemas.names import Names

RELEASE = "20261121T101500-3f9c2a"
NEIGHBOURS = ["", "marquee.", "marquee-", "marquee_", "marquee", "marquee.test.", "shop.", "shop-", "shop_", "shop",
              "shop__", "9.", f"marquee_{RELEASE}_1"]  # fmt: skip


def test_the_default_prefix_keeps_its_names() -> None:
    names = Names()
    assert names.collection(RELEASE, 3) == "marquee_20261121T101500_3f9c2a_3"
    assert names.active_alias == "marquee_active"


@pytest.mark.parametrize(("one", "other"), list(permutations(NEIGHBOURS, 2)))
def test_no_collection_of_a_prefix_begins_as_another_s(one: str, other: str) -> None:
    assert not Names(one).collection(RELEASE, 1).startswith(Names(other).collection_prefix)


@pytest.mark.parametrize("prefix", [*NEIGHBOURS, "x" * 100, "." * 100])
def test_every_prefix_gives_names_that_milvus_takes(prefix: str) -> None:
    names = Names(prefix)
    for name in (names.collection(RELEASE, 1_000), names.active_alias):
        assert re.fullmatch(r"[A-Za-z_][0-9A-Za-z_]{0,254}", name)
        assert Names(prefix).is_collection_of(RELEASE, names.collection(RELEASE, 1_000))


def test_collections_of_earlier_indexers_are_known() -> None:
    assert Names("shop.").is_collection_of(RELEASE, "shop_20261121T101500_3f9c2a_2")
    assert not Names("shop.").is_collection_of(RELEASE, "store_20261121T101500_3f9c2a_2")
    assert not Names("shop.").is_collection_of("20261121T101500-ffffff", "shop_20261121T101500_3f9c2a_2")
