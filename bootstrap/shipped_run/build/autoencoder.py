"""Train the shipped run's autoencoder on the emoji and write `autoencoder.safetensors`.

    python -m bootstrap.shipped_run.build.autoencoder [--steps N] [--bf16]

`--bf16` is worth it only on a processor with native bfloat16 (about twice as fast there, a hundred
times slower elsewhere).
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from bootstrap.shipped_run.build import SHIPPED
from bootstrap.shipped_run.build.fitting import augment, blend, scheduled
from paris_p2p.data.emoji import load_emoji, pixels_of, to_signal
from paris_p2p.model.encoders.autoencoder import (
    AutoencoderConfig,
    SmallAutoencoder,
    load_autoencoder,
    save_autoencoder,
)

NOISE = 0.1
"""Std of the noise on latents in training: decoding must bear a sampler's small errors."""
LATENT_PENALTY = 1e-3
"""Weight of the latents' mean square: without it they would grow to drown the noise."""
LEARNING_RATE = 1.5e-3
EMA_DECAY = 0.998


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 on a pyramid of three resolutions, plus L1 on the gradients of the full one."""
    loss = (output - target).abs().mean()
    for axis in (-1, -2):
        loss = loss + 0.5 * (output.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
    for _ in range(2):
        output, target = F.avg_pool2d(output, 2), F.avg_pool2d(target, 2)
        loss = loss + 0.5 * (output - target).abs().mean()
    return loss


def train(pixels: Tensor, config: AutoencoderConfig, args: argparse.Namespace) -> SmallAutoencoder:
    """Train on uint8 (N, 3, 64, 64); return the running average of the weights."""
    generator = torch.Generator().manual_seed(args.seed)
    model = SmallAutoencoder(config).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    started = time.monotonic()
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = scheduled(LEARNING_RATE, step, args.steps)
        rows = torch.randint(len(pixels), (args.batch,), generator=generator)
        images = augment(pixels[rows], generator).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            latents = model.encode(images)
            noise = torch.randn(latents.shape, generator=generator)
            output = model.decode(latents + NOISE * noise)
        loss = reconstruction_loss(output.float(), images)
        loss = loss + LATENT_PENALTY * latents.float().square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        blend(average, model, EMA_DECAY, step)
        if step % 100 == 0:
            speed = (step + 1) * args.batch / (time.monotonic() - started)
            std = float(latents.detach().float().std())
            print(
                f"step {step} loss {loss.item():.4f} latent std {std:.2f} {speed:.0f} images/s",
                flush=True,
            )
    return average


@torch.no_grad()
def normalise(model: SmallAutoencoder, pixels: Tensor) -> None:
    """Set shift and scale so that the latents of `pixels` have zero mean and unit std."""
    latents = torch.cat([model.encode(to_signal(part)) for part in torch.split(pixels, 256)])
    model.shift.copy_(latents.mean(dim=(0, 2, 3)))
    model.scale.copy_(latents.std(dim=(0, 2, 3)))


@torch.no_grad()
def mean_psnr(model: SmallAutoencoder, pixels: Tensor) -> float:
    """Mean over images of the peak signal-to-noise ratio in dB, after rounding to 8 bits."""
    ratios = []
    for part in torch.split(pixels, 256):
        output = model.decode(model.encode(to_signal(part)))
        restored = ((output + 1) * 127.5).round().clamp(0, 255)
        error = (restored - part.float()).square().mean(dim=(1, 2, 3)).clamp(min=1e-3)
        ratios.append(10 * torch.log10(255**2 / error))
    return float(torch.cat(ratios).mean())


@torch.no_grad()
def save_grid(path: Path, model: SmallAutoencoder, pixels: Tensor) -> None:
    """Write a PNG of originals (odd rows) over their reconstructions (even rows), 16 a row."""
    output = model.decode(model.encode(to_signal(pixels)))
    restored = ((output + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    rows = []
    for original, copied in zip(torch.split(pixels, 16), torch.split(restored, 16), strict=True):
        rows += [torch.cat(list(original), dim=2), torch.cat(list(copied), dim=2)]
    Image.fromarray(torch.cat(rows, dim=1).permute(1, 2, 0).numpy()).save(path)


def main() -> None:
    """Train, write the artefact, then report what was read back from it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=SHIPPED / "emoji.parquet")
    parser.add_argument("--out", type=Path, default=SHIPPED / "autoencoder.safetensors")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--grid", type=Path, help="write a PNG of held-out reconstructions")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    samples = load_emoji(args.data)
    seen = pixels_of([sample for sample in samples if sample.split == "train"])
    unseen = pixels_of([sample for sample in samples if sample.split == "held_out_concept"])
    model = train(seen, AutoencoderConfig(), args)
    normalise(model, pixels_of(samples))
    save_autoencoder(args.out, model)
    model = load_autoencoder(args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB, latents {model.latent_shape}")
    print(f"PSNR: training {mean_psnr(model, seen[::6]):.2f} dB", end=", ")
    print(f"concepts never seen {mean_psnr(model, unseen):.2f} dB")
    if args.grid:
        save_grid(args.grid, model, unseen[:96])


if __name__ == "__main__":
    main()
