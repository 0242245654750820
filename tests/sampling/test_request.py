import pytest

from paris_p2p.errors import UsageProblem
from paris_p2p.sampling.request import SampleRequest


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompts": ("x" * 100_000,)}, "100000 characters"),
        ({"prompts": ("caf\udce9",)}, "UTF-8"),
        ({"prompts": ("a",), "count": 0}, "0 images"),
        ({"prompts": ("a",), "count": 10_000}, "10000 images"),
        ({"prompts": ("a",), "steps": 0}, "0 sampling steps"),
        ({"prompts": ("a",), "guidance": float("nan")}, "guidance"),
        ({"prompts": ("a",), "seed": -1}, "seed"),
        ({"prompts": ("a",), "strategy": "bogus"}, "bogus"),
        ({"prompts": ("a",), "sampler": "bogus"}, "bogus"),
        ({"prompts": ("a",), "guidance_routing": "bogus"}, "shared or own"),
        ({"prompts": ("a",), "strategy": "top-k"}, "--top-k"),
        ({"prompts": ("a",), "strategy": "top-k", "top_k": -3}, "-3 experts"),
        ({"prompts": ("a",), "strategy": "full", "top_k": 2}, "--top-k"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(fields: dict[str, object], words: str) -> None:
    with pytest.raises(UsageProblem, match=words) as caught:
        SampleRequest(**fields)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_captions_are_prompt_by_prompt() -> None:
    assert SampleRequest(("a", "b"), count=2).captions() == ["a", "a", "b", "b"]


def test_an_empty_prompt_is_the_null_caption() -> None:
    assert SampleRequest(("",)).captions() == [""]


@pytest.mark.parametrize(
    ("asked", "reading", "blind"),
    [("auto", "once", "top-2"), ("top-2", "top-2", "top-2"), ("full", "full", "full")],
)
def test_the_strategy_is_the_one_asked_for_or_suits_the_router(
    asked: str, reading: str, blind: str
) -> None:
    request = SampleRequest(("a",), strategy=asked)
    assert request.strategy_for(reading=True) == reading
    assert request.strategy_for(reading=False) == blind
