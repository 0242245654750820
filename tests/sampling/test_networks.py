"""Which networks are kept for the next prompt."""

from __future__ import annotations

from torch import nn

from paris_p2p.sampling.networks import Networks, machine_share, size_of


def network() -> nn.Module:
    """400 bytes."""
    return nn.Linear(10, 10, bias=False)


def test_the_one_that_was_used_least_lately_goes_first() -> None:
    networks = Networks(most=900)
    one, two, three = network(), network(), network()
    networks.keep("one", one)
    networks.keep("two", two)
    assert networks.get("one") is one
    networks.keep("three", three)
    assert [networks.get(name) for name in ("one", "two", "three")] == [one, None, three]


def test_what_is_larger_than_all_that_may_be_kept_is_not() -> None:
    networks = Networks(most=300)
    networks.keep("one", network())
    assert networks.get("one") is None


def test_what_is_dropped_or_replaced_is_gone() -> None:
    networks = Networks(most=900)
    other = network()
    networks.keep("one", network())
    networks.keep("one", other)
    networks.keep("two", other)
    assert networks.get("one") is other
    networks.drop("one")
    assert networks.get("one") is None
    networks.clear()
    assert networks.get("two") is None


def test_sizes_are_bytes_and_a_machine_has_a_share() -> None:
    assert size_of(network()) == 400
    assert machine_share() > 1 << 20
