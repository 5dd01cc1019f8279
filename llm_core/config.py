"""Everything that the model part can be told. The classes up to :class:`EvaluateConfig` are identity: each
decides what comes out. :class:`LlmRuntime` is how it is computed, and never changes the result's meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """Unknown keys are refused, values don't change after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TokenizerConfig(Strict):
    """Byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2)."""

    vocab_size: int = Field(default=8192, ge=300, le=1_000_000)
    """Entries in all: 256 bytes, the special tokens, the merges."""
    split_digits: bool = True
    """Every digit is its own token, so that numbers are spelled one way."""
    min_frequency: int = Field(default=2, ge=1, le=1_000_000)
    sample_bytes: int = Field(default=1_000_000_000, ge=1_000, le=10**13)
    """At most this much text (of the train split) is read for training."""


class ShardsConfig(Strict):
    """Documents to flat arrays of token ids, each document closed by `<|endoftext|>`."""

    shard_tokens: int = Field(default=50_000_000, ge=1_000, le=10**11)
    """Tokens per file."""


class ModelConfig(Strict):
    """`portable`: RMSNorm, rotary positions, grouped-query attention with QK-norm, SwiGLU, no biases. The shape of
    Qwen3-dense, so that weights can move to other runtimes without custom code."""

    preset: Literal["portable"] = "portable"
    layers: int = Field(default=6, ge=1, le=256)
    dim: int = Field(default=384, ge=8, le=65_536)
    """Width of the residual stream."""
    heads: int = Field(default=6, ge=1, le=512)
    """Query heads."""
    kv_heads: int | None = Field(default=None, ge=1, le=512)
    """Key and value heads (grouped-query attention, Ainslie et al. 2023). None: as many as `heads`."""
    head_dim: int | None = Field(default=None, ge=2, le=1024)
    """None: dim / heads."""
    ffn_dim: int = Field(default=1024, ge=8, le=262_144)
    context_length: int = Field(default=512, ge=8, le=1_048_576)
    """Tokens that the model sees at once."""
    rope_base: float = Field(default=10_000.0, gt=1.0, le=1e12)
    norm_eps: float = Field(default=1e-6, gt=0, lt=1e-1)
    tie_embeddings: bool = True
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _shape(self) -> ModelConfig:
        kv = self.kv_heads or self.heads
        if self.head_dim is None and self.dim % self.heads:
            raise ValueError(f"dim {self.dim} can't be divided among {self.heads} heads; make dim a multiple of heads")
        if self.heads % kv:
            raise ValueError(f"{self.heads} heads can't share {kv} kv_heads evenly; kv_heads must divide heads")
        if (self.head_dim or self.dim // self.heads) % 2:
            raise ValueError("rotary positions need an even head_dim (dim / heads)")
        return self


#: From 0 on, below 1.
Share = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Strict):
    """AdamW alone (Loshchilov & Hutter 2019), or Muon (Jordan et al. 2024) for the 2-D weights inside the blocks
    and AdamW for the rest."""

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(default=1e-3, gt=0, le=10)
    """Peak learning rate of AdamW."""
    muon_lr: float = Field(default=0.02, gt=0, le=10)
    betas: tuple[Share, Share] = (0.9, 0.95)
    """How much of the running means of gradient and squared gradient each step keeps."""
    eps: float = Field(default=1e-8, gt=0, le=1e-2)
    weight_decay: float = Field(default=0.1, ge=0, le=10)
    """On 2-D weights only; norms are left alone."""
    clip_norm: float | None = Field(default=1.0, gt=0, le=1e6)
    """Largest global gradient norm. None: no clipping."""


class ScheduleConfig(Strict):
    """Learning rate as a pure function of the step."""

    kind: Literal["wsd", "cosine", "linear"] = "wsd"
    """`wsd`: warm up, stay, decay linearly."""
    warmup_steps: int = Field(default=50, ge=0, le=10**9)
    decay_fraction: float = Field(default=0.4, ge=0, le=1)
    """`wsd`: the last share of the steps, in which the rate falls."""
    final_fraction: float = Field(default=0.05, ge=0, le=1)
    """The rate at the end, as a share of the peak."""


class TrainConfig(Strict):
    """What pretraining and both kinds of fine-tuning have in common: one loop serves them all."""

    seed: int = Field(default=1, ge=0, le=2**31 - 1)
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: matrix products in bfloat16, master weights and optimizer state in fp32."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    eval_every: int = Field(default=100, ge=1, le=10**9)
    """Steps between validations; there is always one at the end."""
    eval_rows: int = Field(default=256, ge=1, le=10**9)
    """Validation rows (examples) used while training; the final one uses all."""


class PretrainConfig(TrainConfig):
    steps: int = Field(default=1000, ge=1, le=10**9)
    batch_tokens: int = Field(default=16_384, ge=8, le=10**9)
    """Tokens per optimizer step, whatever the micro-batch and the number of devices."""


class ClassifierConfig(TrainConfig):
    """A linear head on the mean of a text's states; all weights are tuned."""

    init: Literal["pretrained", "scratch"] = "pretrained"
    epochs: float = Field(default=3.0, gt=0, le=1000)
    batch_examples: int = Field(default=32, ge=1, le=10**6)
    max_tokens: int = Field(default=256, ge=1, le=1_048_576)
    """A longer text is cut (its beginning stays)."""


class AssistantConfig(TrainConfig):
    """Supervised fine-tuning on conversations; the loss counts the assistant's tokens only."""

    epochs: float = Field(default=1.0, gt=0, le=1000)
    batch_examples: int = Field(default=32, ge=1, le=10**6)
    max_tokens: int = Field(default=256, ge=1, le=1_048_576)


class PretrainStage(Strict):
    """All that decides what pretraining gives: the shape and the training."""

    model: ModelConfig = ModelConfig()
    train: PretrainConfig = PretrainConfig()


class ClassifierStage(Strict):
    """All that decides the classifier. The shape counts where it starts from scratch; otherwise it is the model's."""

    model: ModelConfig = ModelConfig()
    train: ClassifierConfig = ClassifierConfig()


class EvaluateConfig(Strict):
    prompts: tuple[str, ...] = ("The ",)
    """Fixed prompts that the base model continues."""
    instructions: tuple[str, ...] = ()
    """Fixed questions that the assistant answers."""
    sample_tokens: int = Field(default=64, ge=1, le=100_000)
    temperature: float = Field(default=0.8, ge=0, le=10)
    top_k: int | None = Field(default=50, ge=1, le=1_000_000)
    top_p: float | None = Field(default=0.95, gt=0, le=1)
    seed: int = Field(default=1, ge=0, le=2**63 - 1)
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the matrix products while measuring. `bf16` is twice as fast where the processor knows it, and changes the
    fifth digit of a loss."""


class LlmRuntime(Strict):
    """How it is computed. Nothing here enters a fingerprint."""

    device: str = "auto"
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda`, `cuda:0`, `mps`."""
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads; 0 leaves it to torch."""
    micro_batch_rows: int = Field(default=0, ge=0, le=10**6)
    """Rows per forward pass; 0 chooses. Accumulation makes up the rest of the batch."""
    checkpoint_every_seconds: float = Field(default=60.0, gt=0, le=86_400)
    keep_checkpoints: int = Field(default=2, ge=1, le=1_000)
    log_every: int = Field(default=10, ge=1, le=10**6)
