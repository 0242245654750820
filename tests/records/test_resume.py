from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.identity import Identity
from paris_p2p.records.codec import seal
from paris_p2p.records.resume import Resume, ranked_resumes
from paris_p2p.records.run import ROUTER, RunManifest

TRUSTED, STRANGER = b"t" * 32, b"s" * 32


def a_resume(step: int, *, manifest: int = 0, author: bytes = TRUSTED) -> Resume:
    return Resume(
        run=b"r" * 32,
        expert=0,
        author=author,
        step=step,
        images=64 * step,
        manifest=bytes([manifest]) * 32,
        size=100,
        created=0.0,
    )


resumes = st.builds(
    a_resume,
    st.integers(0, 3),
    manifest=st.integers(0, 2),
    author=st.sampled_from([TRUSTED, STRANGER]),
)


@given(st.lists(resumes), st.randoms())
def test_the_order_they_are_seen_in_does_not_matter(seen: list[Resume], rng: random.Random) -> None:
    ranked = ranked_resumes(seen)
    assert ranked_resumes(rng.sample(seen, len(seen))) == ranked
    assert all(one.step >= next_one.step for one, next_one in pairwise(ranked))


@given(st.lists(resumes))
def test_an_untrusted_author_counts_for_nothing(seen: list[Resume]) -> None:
    trusted = [resume for resume in seen if resume.author == TRUSTED]
    assert ranked_resumes(seen, (TRUSTED,)) == ranked_resumes(trusted)


def test_one_signed_by_another_does_not_become_the_trusted_authors(signer: Identity) -> None:
    forged = Resume.unseal(seal(signer, Resume.KIND, a_resume(9).to_body()))
    assert ranked_resumes([forged], (TRUSTED,)) == []


def test_a_resume_state_may_be_larger_than_a_checkpoint_but_not_anything(run: RunManifest) -> None:
    for slot in (0, ROUTER):
        assert 4 <= run.resume_limit(slot) / run.checkpoint_limit(slot) < 5
