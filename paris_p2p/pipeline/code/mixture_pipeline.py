"""A mixture of isolated experts as a diffusers pipeline: prompts in, pictures out.

The experts predict velocities of the straight path x_t = (1 - t) x0 + t eps, from t = 1 (noise) to
t = 0 (data), or the noise in states of another path (`_NOISE_TIMES`). At each step the router says
which experts suit (x_t, t) and the prompt, and their velocities are mixed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, ImagePipelineOutput
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

EXPERTS = 0
"""Number of experts of this run; the export writes it."""

LATEST = 0.95
"""The latest time at which a noise prediction is asked."""


@dataclass(frozen=True)
class Strategy:
    """At most `most` experts, each with a share of at least `least`. The smallest are dropped as
    long as they have less than `negligible` together. With `once` the first choice stays."""

    most: int | None = None
    least: float = 0.0
    negligible: float = 0.01
    once: bool = False


STRATEGIES: Mapping[str, Strategy] = {
    "once": Strategy(most=1, once=True),
    "top-1": Strategy(most=1),
    "top-2": Strategy(most=2),
    "threshold": Strategy(least=0.1),
    "full": Strategy(negligible=0.0),
}


@dataclass(frozen=True)
class Text:
    """Prompts: `tokens` (N, L, D), and `mask` (N, L), true for those that are not padding."""

    tokens: Tensor
    mask: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Text:
        return Text(self.tokens[rows], self.mask[rows])

    def joined(self, other: Text) -> Text:
        return Text(torch.cat([self.tokens, other.tokens]), torch.cat([self.mask, other.mask]))


class MixturePipeline(DiffusionPipeline):
    """The router, the experts and the encoders of a run.

    An expert that is None is missing: it gets no share. `mixture` has "objectives", what each
    expert predicts, and "latents", how those of a small autoencoder are folded and normalised.
    """

    _optional_components = ["tokenizer", *(f"expert_{k}" for k in range(EXPERTS))]  # noqa: RUF012

    def __init__(
        self,
        scheduler: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        router: Any,
        mixture: Any = None,
        **experts: Any,
    ) -> None:
        super().__init__()
        self.register_modules(
            scheduler=scheduler,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            router=router,
            **experts,
        )
        self.register_to_config(mixture=mixture)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        num_inference_steps: int = 16,
        guidance_scale: float = 5.0,
        num_images_per_prompt: int = 1,
        seed: int = 0,
        generator: Generator | Sequence[Generator] | None = None,
        strategy: str | None = None,
        top_k: int | None = None,
        guidance_routing: str = "shared",
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Draw. Image i starts from the noise of `seed` + i, or of the `generator` given.

        Parameters
        ----------
        strategy : a name of STRATEGIES. Default: "once" with a router that reads, else "top-2".
        top_k : mix this many experts instead.
        guidance_routing : "shared", one choice for both branches of guidance, or "own".
        output_type : "pil", "pt" (N, 3, H, W) in [0, 1], or "latent".
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        captions = [text for text in prompts for _ in range(num_images_per_prompt)]
        reads = self.router.config.caption_width > 0
        chosen = STRATEGIES[strategy or ("once" if reads else "top-2")]
        if top_k is not None:
            chosen = Strategy(most=top_k)
        if guidance_routing not in ("shared", "own"):
            raise ValueError(f"guidance_routing is {guidance_routing!r}, not 'shared' or 'own'")
        text, null = self._read([*captions, ""])
        velocity = self._velocity(text, null, chosen, guidance_scale, guidance_routing == "own")
        x = self._noise(len(captions), seed, generator)
        latents = self._integrate(velocity, x, num_inference_steps)
        images = latents if output_type == "latent" else _as(output_type, self._decode(latents))
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _read(self, captions: Sequence[str]) -> tuple[Text, Text]:
        """The captions but the last, and the last, without tokens that all have as padding."""
        device = self._execution_device
        if self.tokenizer is None:
            ids = self.text_encoder.tokenize(captions).to(device)
            tokens, mask = self.text_encoder(ids), self.text_encoder.mask(ids)
        else:
            most = self.tokenizer.model_max_length
            told = self.tokenizer(
                captions,
                padding="max_length",
                max_length=most,
                truncation=True,
                return_tensors="pt",
            )
            ids = told.input_ids.to(device)
            end = (ids == self.tokenizer.eos_token_id).int().argmax(dim=1, keepdim=True)
            tokens = self.text_encoder(ids).last_hidden_state
            mask = torch.arange(ids.shape[1], device=device) <= end
        longest = int(mask.any(dim=0).nonzero().max()) + 1
        text = Text(tokens[:, :longest], mask[:, :longest])
        return text[slice(-1)], text[slice(-1, None)]

    def _noise(
        self, count: int, seed: int, generator: Generator | Sequence[Generator] | None
    ) -> Tensor:
        """Standard normal (N, C, h, w), drawn on the CPU unless a generator is elsewhere."""
        router = self.router.config
        shape = (router.channels, router.side, router.side)
        if generator is None:
            generator = [Generator().manual_seed(seed + image) for image in range(count)]
        drawn = [generator] * count if isinstance(generator, Generator) else list(generator)
        noise = [torch.randn(shape, generator=one, device=one.device) for one in drawn]
        return torch.stack(noise).to(self._execution_device)

    def _integrate(
        self, velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, steps: int
    ) -> Tensor:
        """Follow dx/dt = velocity(x, t) with the scheduler, whose sigma is t."""
        if isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler):
            self.scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)])
        else:
            self.scheduler.set_timesteps(steps)
        self.scheduler.set_begin_index(0)
        times = list(zip(self.scheduler.timesteps, self.scheduler.sigmas, strict=False))
        for timestep, sigma in self.progress_bar(times):
            t = torch.full((len(x),), float(sigma), dtype=x.dtype, device=x.device)
            x = self.scheduler.step(velocity(x, t), timestep, x, return_dict=False)[0]
        return x

    def _velocity(
        self, text: Text, null: Text, strategy: Strategy, guidance: float, own_routing: bool
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The mixture's velocity for these captions, guided away from the null caption."""
        evidence = self.router.read(text.tokens, text.mask)
        first: list[Tensor] = []

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            if not (strategy.once and first):
                logits = self.router(x.to(self.router.dtype), t).to(x.dtype)
                first[:] = [self._shares(logits + evidence, strategy)]
            if own_routing and guidance != 1:
                blind = self._shares(self.router(x.to(self.router.dtype), t).to(x.dtype), strategy)
                everywhere = null[torch.zeros(len(x), dtype=torch.long, device=x.device)]
                unguided = self._mixed(blind, x, t, everywhere, null, 1.0)
                guided = self._mixed(first[0], x, t, text, null, 1.0)
                return unguided + guidance * (guided - unguided)
            return self._mixed(first[0], x, t, text, null, guidance)

        return velocity

    def _shares(self, logits: Tensor, strategy: Strategy) -> Tensor:
        """The share (N, K) of each expert: of those that are here, the likeliest."""
        here = [getattr(self, f"expert_{k}") is not None for k in range(EXPERTS)]
        missing = ~torch.tensor(here, device=logits.device)
        likely = logits.double().masked_fill(missing, -torch.inf).softmax(dim=-1)
        ranks = likely.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        chosen = ((likely >= strategy.least) | (ranks == 0)) & (likely > 0)
        shares = likely * (chosen & (ranks < (strategy.most or EXPERTS)))
        ascending, order = shares.sort(dim=-1, stable=True)
        running = ascending.cumsum(dim=-1)
        small = running < strategy.negligible * running[:, -1:]
        shares = torch.zeros_like(shares).scatter(-1, order, ascending.masked_fill(small, 0.0))
        return (shares / shares.sum(dim=-1, keepdim=True)).to(logits.dtype)

    def _mixed(
        self, shares: Tensor, x: Tensor, t: Tensor, text: Text, null: Text, guidance: float
    ) -> Tensor:
        """The experts' velocities by their shares. Each is asked for the rows that need it."""
        mixed = torch.zeros_like(x)
        for k in range(EXPERTS):
            rows = shares[:, k].nonzero().flatten()
            if len(rows):
                share = shares[rows, k].view(-1, 1, 1, 1)
                answer = self._guided(k, x[rows], t[rows], text[rows], null, guidance)
                mixed.index_add_(0, rows, share * answer)
        return mixed

    def _guided(
        self, k: int, x: Tensor, t: Tensor, text: Text, null: Text, guidance: float
    ) -> Tensor:
        """One expert's velocity, both branches of guidance in one call."""
        if guidance == 1:
            return self._asked(k, x, t, text)
        blank = null[torch.zeros(len(x), dtype=torch.long, device=x.device)]
        both = self._asked(k, torch.cat([x, x]), torch.cat([t, t]), text.joined(blank))
        conditional, unconditional = both.chunk(2)
        return unconditional + guidance * (conditional - unconditional)

    def _asked(self, k: int, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """One expert's answer at (x, t) as a velocity."""
        expert, objective = getattr(self, f"expert_{k}"), self.config.mixture["objectives"][k]

        def answer(state: Tensor, time: Tensor) -> Tensor:
            told: Tensor = expert(
                state.to(expert.dtype),
                encoder_hidden_states=text.tokens.to(expert.dtype),
                timestep=time * 1000,
                encoder_attention_mask=text.mask.to(expert.dtype),
                return_dict=False,
            )[0]
            return told.to(x.dtype)

        if objective not in _NOISE_TIMES:
            return answer(x, t)
        t = t.clamp(max=LATEST)
        noise = t.view(-1, 1, 1, 1)
        state = x / torch.hypot(1 - noise, noise)
        return (answer(state, _NOISE_TIMES[objective](t / (1 - t))) - x) / (1 - noise)

    def _decode(self, latents: Tensor) -> Tensor:
        """Pixels (N, 3, H, W) in [-1, 1]."""
        told = self.config.mixture.get("latents")
        latents = latents.to(self.vae.dtype)
        if told is None:
            pixels = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        else:
            mean, std = (
                torch.tensor(told[name], dtype=latents.dtype, device=latents.device)[:, None, None]
                for name in ("mean", "std")
            )
            pixels = functional.pixel_shuffle(self.vae.decoder(latents * std + mean), told["patch"])
        return pixels.float().clamp(-1, 1)


def _linear_time(ratio: Tensor) -> Tensor:
    """When DDPM's linear schedule (0.1 to 20) has this noise-to-signal ratio."""
    lost = torch.log1p(ratio**2)
    return 2 * lost / (0.1 + torch.sqrt(0.1**2 + 2 * (20.0 - 0.1) * lost))


def _cosine_time(ratio: Tensor) -> Tensor:
    """When the cosine schedule (offset 0.008) has this noise-to-signal ratio."""
    alpha = functional.normalize(torch.stack([torch.ones_like(ratio), ratio]), dim=0)[0]
    angle = torch.arccos(alpha * math.cos(0.008 / 1.008 * (math.pi / 2)))
    return (angle / (math.pi / 2) * 1.008 - 0.008).clamp(0, 1)


_NOISE_TIMES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "ddpm-linear": _linear_time,
    "ddpm-cosine": _cosine_time,
}
"""Of the objectives that predict noise: the time of a noise-to-signal ratio."""


def _as(output_type: str, pixels: Tensor) -> Any:
    if output_type == "pt":
        return (pixels + 1) / 2
    levels = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
    return [Image.fromarray(level.numpy()) for level in levels]


def _with_experts(signature: inspect.Signature) -> inspect.Signature:
    """The signature with a parameter for each expert, from which diffusers reads its components."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    *own, mixture, _ = signature.parameters.values()
    experts = [inspect.Parameter(f"expert_{k}", kind) for k in range(EXPERTS)]
    return signature.replace(parameters=[*own, *experts, mixture])


MixturePipeline.__init__.__signature__ = _with_experts(  # type: ignore[attr-defined]
    inspect.signature(MixturePipeline.__init__)
)
