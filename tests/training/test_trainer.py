from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from paris_p2p.errors import BadContent, TrainingDiverged
from paris_p2p.model import weights
from paris_p2p.model.expert import Expert, build_expert
from paris_p2p.model.expert_objectives import FlowMatching
from paris_p2p.model.objective import Text
from paris_p2p.model.weights import load_into, read_metadata
from paris_p2p.records.objectives import OBJECTIVES
from paris_p2p.records.run import ROUTER
from paris_p2p.training import snapshot
from paris_p2p.training.captions import EncodedCaptions
from paris_p2p.training.expert import ExpertTask, train_expert
from paris_p2p.training.job import Job, StartRefuted
from paris_p2p.training.phases import Tell, untold
from paris_p2p.training.router import train_router
from paris_p2p.training.samples import Captioned, CaptionedProbes, Latents
from paris_p2p.training.trainer import CHECKPOINT_FORMAT, Progress, train

from .jobs import (
    EXPERT,
    LATENT_SHAPE,
    RECIPE,
    TEXT_WIDTH,
    RunFiles,
    same_content,
)

SLOW_PUBLISHING = replace(RECIPE, snapshot_every=1000, publish_every=1000)


def all_of(job: Job) -> list[Progress]:
    return list(train_expert(job))


def files(job: Job, pattern: str) -> list[str]:
    return sorted(path.name for path in job.out_dir.glob(pattern))


def test_a_killed_and_resumed_run_equals_an_unbroken_one_bit_for_bit(
    run: RunFiles, tmp_path: Path
) -> None:
    unbroken = all_of(run.job(max_steps=11))
    killed = run.job(out_dir=tmp_path / "killed", max_steps=11)
    list(itertools.islice(train_expert(killed), 8))  # two steps past the snapshot of step 6
    (snapshot,) = killed.out_dir.glob("snapshot-*")
    resumed = all_of(replace(killed, resume_snapshot=snapshot, max_steps=5, seed=99))
    assert [step.loss for step in resumed] == [step.loss for step in unbroken[6:]]
    assert resumed[-1].held_out_loss == unbroken[-1].held_out_loss
    assert same_content(resumed[-1].snapshot, unbroken[-1].snapshot)
    assert same_content(resumed[-1].checkpoint, unbroken[-1].checkpoint)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_expert_learns_by_whatever_objective_its_slot_has(run: RunFiles, objective: str) -> None:
    job = run.job(objective=objective, max_steps=60, recipe=SLOW_PUBLISHING)
    steps = all_of(job)
    first, last = (sum(step.loss for step in part) for part in (steps[:10], steps[-10:]))
    assert last < 0.8 * first
    again = run.job(
        objective=objective,
        out_dir=run.folder / "again",
        resume_state=steps[-1].resume,
        start_step=60,
        start_images=480,
        claimed_loss=steps[-1].held_out_loss,
        max_steps=1,
    )
    assert all_of(again)[0].step == 61


def test_a_state_of_another_shape_is_refused(run: RunFiles, tmp_path: Path) -> None:
    last = all_of(run.job(max_steps=1))[-1]
    wider = run.job(
        out_dir=tmp_path / "wider",
        expert=replace(EXPERT, hidden=48),
        start_from=last.checkpoint,
        start_step=1,
        start_images=8,
    )
    with pytest.raises(StartRefuted, match="must have shape"):
        all_of(wider)


def test_snapshots_and_checkpoints_come_when_due_and_at_the_end(run: RunFiles) -> None:
    steps = all_of(run.job(max_steps=7))
    assert [p.step for p in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert [p.images for p in steps] == [8, 16, 24, 32, 40, 48, 56]
    assert [p.step for p in steps if p.snapshot] == [3, 6, 7]
    assert [p.step for p in steps if p.checkpoint] == [4, 7]
    assert [p.step for p in steps if p.held_out_loss is not None] == [4, 7]


def test_only_the_newest_files_stay_and_the_snapshots_of_another_lineage(run: RunFiles) -> None:
    job = run.job(max_steps=13)
    (job.out_dir / "snapshot-000000099.safetensors").write_bytes(b"of the work before a takeover")
    all_of(job)
    assert files(job, "snapshot-*") == [
        "snapshot-000000013.safetensors",
        "snapshot-000000099.safetensors",
    ]
    assert files(job, "checkpoint-*") == [
        "checkpoint-000000012.safetensors",
        "checkpoint-000000013.safetensors",
    ]


def test_a_checkpoint_says_what_it_is_and_loads(run: RunFiles) -> None:
    path = all_of(run.job(slot=2))[-1].checkpoint
    assert path is not None
    assert read_metadata(path) == {
        "format": CHECKPOINT_FORMAT,
        "slot": "2",
        "step": "6",
        "images": "48",
    }
    load_into(build_expert(EXPERT, LATENT_SHAPE), path)


def test_another_peers_checkpoint_is_continued(run: RunFiles, tmp_path: Path) -> None:
    first = all_of(run.job(max_steps=40, recipe=SLOW_PUBLISHING))[-1]
    takeover = run.job(
        out_dir=tmp_path / "takeover",
        start_from=first.checkpoint,
        start_step=first.step,
        start_images=first.images,
        max_steps=1,
    )
    (step,) = all_of(takeover)
    assert (step.step, step.images) == (41, 328)
    assert step.held_out_loss == pytest.approx(first.held_out_loss, rel=0.01)


def test_training_starts_from_the_runs_base_unless_there_is_another_start(
    run: RunFiles, tmp_path: Path
) -> None:
    base = all_of(run.job(max_steps=1))[-1].checkpoint
    job = run.job(
        out_dir=tmp_path / "based",
        base=base,
        max_steps=1,
        recipe=replace(RECIPE, learning_rate=1e-9),
    )
    based = all_of(job)[-1]
    assert base is not None and based.checkpoint is not None
    assert based.step == 1
    published = load_file(base)
    for name, tensor in load_file(based.checkpoint).items():
        assert torch.allclose(tensor, published[name], atol=1e-6)
    other = replace(job, base=tmp_path / "unread", resume_snapshot=based.snapshot)
    assert all_of(other)[-1].step == 2


def test_a_base_that_does_not_fit_is_the_runs_fault_and_not_a_peers(
    run: RunFiles, tmp_path: Path
) -> None:
    base = tmp_path / "base.safetensors"
    base.write_bytes(run.text_encoder.read_bytes())
    with pytest.raises(BadContent, match="the run's base does not fit its experts") as problem:
        train_expert(run.job(base=base))
    assert not isinstance(problem.value, StartRefuted)


def test_a_takeover_from_a_resume_state_equals_unbroken_training_bit_for_bit(
    run: RunFiles, tmp_path: Path
) -> None:
    unbroken = all_of(run.job(max_steps=11))
    lost = all_of(run.job(out_dir=tmp_path / "lost", max_steps=6))[-1]
    takeover = run.job(
        out_dir=tmp_path / "takeover",
        resume_state=lost.resume,
        start_step=lost.step,
        start_images=lost.images,
        max_steps=5,
        seed=99,
    )
    resumed = all_of(takeover)
    assert [step.loss for step in resumed] == [step.loss for step in unbroken[6:]]
    assert same_content(resumed[-1].snapshot, unbroken[-1].snapshot)
    assert same_content(resumed[-1].checkpoint, unbroken[-1].checkpoint)
    assert lost.resume is not None and lost.resume.exists()


@pytest.mark.parametrize("promise", [{"start_step": 7}, {"start_images": 0}, {"start_step": 10**9}])
def test_a_resume_state_that_is_not_where_its_record_says_is_refused(
    run: RunFiles, tmp_path: Path, promise: dict[str, int]
) -> None:
    last = all_of(run.job())[-1]
    promised = {"start_step": last.step, "start_images": last.images} | promise
    job = run.job(out_dir=tmp_path / "takeover", resume_state=last.resume, **promised)
    with pytest.raises(BadContent, match=f"at step {last.step}, not {promised['start_step']}"):
        all_of(job)


def scaled(path: Path | None, prefix: str, by: float, target: Path) -> Path:
    """A state whose tensors under `prefix` are scaled, and all else as it was."""
    assert path is not None
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = {
        name: tensor * by if name.startswith(prefix) else tensor
        for name, tensor in load_file(path).items()
    }
    save_file(tensors, target, metadata)
    return target


@pytest.mark.parametrize("prefix", ["average/", "network/"])
@pytest.mark.parametrize("slot", [0, ROUTER])
@pytest.mark.parametrize("kind", ["resume_state", "resume_snapshot"])
def test_a_state_with_spoilt_weights_is_refuted_before_the_first_step(
    run: RunFiles, tmp_path: Path, prefix: str, slot: int, kind: str
) -> None:
    train_slot = train_router if slot == ROUTER else train_expert
    last = list(train_slot(run.job(slot)))[-1]
    job = run.job(slot, out_dir=tmp_path / "takeover", max_steps=1)
    job = replace(job, start_step=last.step, start_images=last.images)
    poison = scaled(last.resume, prefix, 1e3, tmp_path / "poison.safetensors")
    with pytest.raises(StartRefuted, match="worthless: its held-out loss"):
        list(train_slot(replace(job, **{kind: poison})))
    assert list(job.out_dir.iterdir()) == []
    assert len(list(train_slot(replace(job, **{kind: last.resume})))) == 1


def test_a_checkpoint_that_claims_more_than_it_measures_is_refuted(
    run: RunFiles, tmp_path: Path
) -> None:
    last = all_of(run.job())[-1]
    job = run.job(out_dir=tmp_path / "takeover", start_from=last.checkpoint, start_step=6)
    assert len(all_of(replace(job, claimed_loss=last.held_out_loss))) == 6
    with pytest.raises(StartRefuted, match="its author claims"):
        all_of(replace(job, claimed_loss=0.1))


@pytest.mark.parametrize("promise", [{"start_step": 2**48 - 1}, {"start_images": 2**48}])
def test_a_start_that_leaves_no_room_to_train_is_refuted(
    run: RunFiles, tmp_path: Path, promise: dict[str, int]
) -> None:
    last = all_of(run.job())[-1]
    job = run.job(out_dir=tmp_path / "takeover", start_from=last.checkpoint, **promise)
    with pytest.raises(StartRefuted, match="no room to train"):
        all_of(job)


def test_memory_that_runs_out_is_not_held_against_the_start(
    run: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    last = all_of(run.job())[-1]
    monkeypatch.setattr(snapshot, "_check_values", refuse)
    monkeypatch.setattr(weights, "load_file", refuse)
    for start in ({"resume_snapshot": last.snapshot}, {"start_from": last.checkpoint}):
        with pytest.raises(RuntimeError, match="allocate memory"):
            all_of(run.job(out_dir=tmp_path / "takeover", **start))


def test_resume_states_come_with_every_fourth_checkpoint_and_at_the_end(run: RunFiles) -> None:
    job = run.job(max_steps=18)
    steps = all_of(job)
    assert [p.step for p in steps if p.resume] == [16, 18]
    assert {p.snapshot is not None for p in steps if p.resume} == {True}
    assert files(job, "resume-*") == [f"resume-0000000{step}.safetensors" for step in (16, 18)]
    assert same_content(steps[-1].resume, steps[-1].snapshot)


def test_a_resume_state_is_copied_where_there_are_no_links(
    run: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_links(path: Path, target: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", without_links)
    last = all_of(run.job())[-1]
    assert same_content(last.resume, last.snapshot)


def test_the_loss_falls_on_both_parts(run: RunFiles) -> None:
    recipe = replace(SLOW_PUBLISHING, learning_rate=1e-2)
    steps = all_of(run.job(max_steps=60, recipe=recipe))
    assert sum(p.loss for p in steps[-10:]) < 0.7 * sum(p.loss for p in steps[:10])
    first = all_of(run.job(max_steps=1, recipe=recipe))[0].held_out_loss
    last = steps[-1].held_out_loss
    assert first is not None
    assert last is not None
    assert last < 0.8 * first


def test_it_stops_when_asked_with_everything_saved(run: RunFiles) -> None:
    asked = iter([False, False, True])
    steps = list(train_expert(run.job(max_steps=None), stop=lambda: next(asked)))
    assert [p.step for p in steps] == [1, 2]
    assert steps[-1].snapshot is not None
    assert steps[-1].checkpoint is not None


def test_time_is_a_limit_too(run: RunFiles) -> None:
    assert all_of(run.job(max_steps=None, max_seconds=0)) == []


def test_a_snapshot_of_another_shard_is_refused(run: RunFiles) -> None:
    job = run.job()
    snapshot = all_of(job)[-1].snapshot
    task = FragileTask(samples=3)
    with pytest.raises(BadContent, match="another shard"):
        list(train(task, replace(job, resume_snapshot=snapshot)))


def test_a_network_reads_captions_without_the_padding_that_all_of_a_batch_have() -> None:
    lengths = []

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor, _t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
            assert text.shape[:2] == mask.shape
            lengths.append(text.shape[1])
            return self.weight * x

    latents = Latents.of_shard(torch.ones(4, *LATENT_SHAPE, dtype=torch.int8), torch.ones(2))
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
    captions = EncodedCaptions(
        Text(torch.ones(2, 4, TEXT_WIDTH), mask), torch.tensor([[0], [0], [1], [1]])
    )
    part, null = Captioned(latents, captions), Text(torch.zeros(1, 4, TEXT_WIDTH), mask[:1])
    probes = CaptionedProbes(latents[torch.arange(4)], captions)
    task = ExpertTask(Reader(), FlowMatching(), part, probes, null, dropout=0.0)
    task.loss(task.network, torch.tensor([0, 1]), Generator().manual_seed(0))
    task.loss(task.network, torch.tensor([1, 2]), Generator().manual_seed(0))
    task.held_out_loss(task.network)
    assert lengths == [2, 3, 3]


class FragileTask(ExpertTask):
    """An expert whose loss is replaced at chosen calls of `loss`, counted from 1."""

    def __init__(self, samples: int = 20, broken: Callable[[int], bool] = lambda _: False) -> None:
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        quantised = torch.randint(-99, 99, (samples, *LATENT_SHAPE), generator=generator)
        latents = Latents.of_shard(quantised.to(torch.int8), torch.full((2,), 0.02))
        text = Text(torch.ones(1, 4, TEXT_WIDTH), torch.ones(1, 4))
        captions = EncodedCaptions(text, torch.zeros(samples, 1, dtype=torch.int64))
        part = Captioned(latents, captions)
        probes = CaptionedProbes(latents[torch.arange(samples)], captions)
        expert = build_expert(EXPERT, LATENT_SHAPE)
        super().__init__(expert, FlowMatching(), part, probes, text, dropout=0.0)
        self._calls = 0
        self._broken = broken

    def loss(self, network: Expert, rows: Tensor, generator: Generator) -> Tensor:
        self._calls += 1
        loss = super().loss(network, rows, generator)
        return loss * (torch.nan if self._broken(self._calls) else 1)


def test_a_diverged_step_is_rolled_back_once(run: RunFiles) -> None:
    steps = list(train(FragileTask(broken=lambda call: call == 5), run.job()))
    assert [p.step for p in steps] == [1, 2, 3, 4, 4, 5, 6]
    assert all(torch.isfinite(torch.tensor(p.loss)) for p in steps)


def test_after_a_roll_back_it_goes_on_with_other_noise(run: RunFiles) -> None:
    steps = list(train(FragileTask(broken=lambda call: call == 5), run.job()))
    before, after = (p.loss for p in steps if p.step == 4)
    assert before != after


def test_diverging_again_is_an_error_and_harms_no_file(run: RunFiles) -> None:
    job = run.job()
    training = train(FragileTask(broken=lambda call: call >= 5), job)
    assert [next(training).step for _ in range(4)] == [1, 2, 3, 4]
    kept = {path: path.read_bytes() for path in job.out_dir.iterdir()}
    with pytest.raises(TrainingDiverged, match="expert 0"):
        next(training)
    assert {path: path.read_bytes() for path in job.out_dir.iterdir()} == kept


def test_what_cannot_be_published_is_not_saved(run: RunFiles) -> None:
    class Spoilt(FragileTask):
        def held_out_loss(self, network: Expert, tell: Tell = untold) -> float:
            return torch.nan

    job = run.job()
    with pytest.raises(TrainingDiverged, match="held-out loss of expert 0"):
        list(train(Spoilt(), job))
    assert [path.name for path in job.out_dir.iterdir()] == ["snapshot-000000003.safetensors"]


def test_diverging_before_any_snapshot_is_an_error(run: RunFiles) -> None:
    with pytest.raises(TrainingDiverged, match="learning_rate"):
        list(train(FragileTask(broken=lambda call: call == 1), run.job()))


def test_a_loss_that_climbs_is_divergence_too(run: RunFiles) -> None:
    class Climbing(FragileTask):
        def loss(self, network: Expert, rows: Tensor, generator: Generator) -> Tensor:
            return super().loss(network, rows, generator) * 1.2**self._calls

    with pytest.raises(TrainingDiverged):
        list(train(Climbing(), run.job(max_steps=200, recipe=SLOW_PUBLISHING)))
