"""The modules that an exported folder carries: diffusers runs them where paris-p2p is missing.

- `mixture_pipeline`  the pipeline: router, experts and encoders from prompts to pictures
- `router`            the run's router as a component
- `text_encoder`      the run's own small text encoder as a component, with its tokenizer

Each file stands alone: it imports torch and what diffusers installs, and is copied as it is, but
for the number of experts. The same mixture as `model` and `sampling` draw; tests compare the two.
"""
