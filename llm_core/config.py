"""Everything that the model part can be told. The classes up to :class:`EvaluateConfig` are identity: each
decides what comes out. :class:`LlmRuntime` is how it is computed, and never changes the result's meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

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
    max_distinct_pieces: int = Field(default=4_000_000, ge=1_000, le=10**9)
    """Distinct words (pieces) that are counted at a time, which bounds the memory; beyond it the rarest are let go."""


class ShardsConfig(Strict):
    """Documents to flat arrays of token ids, each document closed by `<|endoftext|>`."""

    shard_tokens: int = Field(default=50_000_000, ge=1_000, le=10**11)
    """Tokens per file."""


class RopeScaling(Strict):
    """Rotary positions beyond the context that a model was trained with."""

    kind: Literal["linear", "ntk", "yarn", "llama3"] = "linear"
    """`linear`: positions divided by `factor` (Chen et al. 2023). `ntk`: a larger base instead. `yarn`: slow pairs
    divided, fast ones left alone (Peng et al. 2023). `llama3`: the same idea as Llama 3.1 does it."""
    factor: float = Field(default=2.0, ge=1, le=1024)
    original_context: int = Field(default=2048, ge=8, le=1_048_576)
    low_freq_factor: float = Field(default=1.0, gt=0, le=1024)
    """`llama3` only."""
    high_freq_factor: float = Field(default=4.0, gt=0, le=1024)
    """`llama3` only."""

    @model_validator(mode="after")
    def _in_order(self) -> RopeScaling:
        if self.high_freq_factor <= self.low_freq_factor:
            raise ValueError(
                f"high_freq_factor ({self.high_freq_factor:g}) must be above low_freq_factor ({self.low_freq_factor:g})"
            )
        return self


#: What each preset means where nothing else is said. A field that a config names wins.
PRESETS: dict[str, dict[str, Any]] = {
    "portable": {},
    "gpt2": {
        "norm": "layernorm",
        "positions": "learned",
        "feed_forward": "gelu",
        "bias": True,
        "qk_norm": False,
        "norm_eps": 1e-5,
    },
    "speed": {
        "norm": "rmsnorm_plain",
        "feed_forward": "relu_squared",
        "tie_embeddings": False,
        "logit_softcap": 15.0,
        "value_embeddings": True,
        "residual_scalars": True,
        "zero_init": True,
    },
}


class ModelConfig(Strict):
    """The model's shape.

    `portable`: RMSNorm, rotary positions, grouped-query attention with QK-norm, SwiGLU, no biases. The shape of
    Qwen3-dense (with `qk_norm: false`, of Llama), so that weights can move to other runtimes without custom code.
    `gpt2`: LayerNorm, learned positions, GELU, biases. `speed`: what measured well for learning speed; only this
    program runs it.
    """

    preset: Literal["portable", "gpt2", "speed"] = "portable"
    size: str | None = None
    """A name of llm_core.model.sizes (`124m`, `350m`, `1b`, ...): gives every number below that isn't given."""
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
    norm: Literal["rmsnorm", "rmsnorm_plain", "layernorm"] = "rmsnorm"
    """`rmsnorm_plain` has no weights of its own."""
    norm_position: Literal["pre", "post"] = "pre"
    """`pre`: each branch reads a normalized copy (GPT-2). `post`: the sum is normalized (Vaswani et al. 2017)."""
    norm_eps: float = Field(default=1e-6, gt=0, lt=1e-1)
    positions: Literal["rotary", "learned", "sinusoidal"] = "rotary"
    rope_base: float = Field(default=10_000.0, gt=1.0, le=1e12)
    rope_scaling: RopeScaling | None = None
    feed_forward: Literal["swiglu", "gelu", "relu_squared"] = "swiglu"
    bias: bool = False
    """Biases in every matrix of the blocks."""
    qk_norm: bool = True
    """Each head's queries and keys are normalized (Dehghani et al. 2023)."""
    sliding_window: int | None = Field(default=None, ge=1, le=1_048_576)
    """Positions that a token sees at most, itself included (Beltagy et al. 2020). None: all before it."""
    full_attention_every: int = Field(default=0, ge=0, le=256)
    """With a sliding window: every so many layers one sees everything. 0: none does."""
    tie_embeddings: bool = True
    """One matrix reads tokens and scores them (Press & Wolf 2017)."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    logit_softcap: float | None = Field(default=None, gt=0, le=1000)
    """cap * tanh(logits / cap) (Gemma 2)."""
    value_embeddings: bool = False
    """Every other layer adds a gated embedding of the token itself to its values (modded-nanogpt)."""
    residual_scalars: bool = False
    """Learned scalars mix the residual stream with the first embedding before each block."""
    zero_init: bool = False
    """The matrices that write into the residual stream begin at zero."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """What the preset and the size say, where the config says nothing."""
        if not isinstance(given, dict):
            return given
        from llm_core.model.sizes import SIZES

        size = given.get("size")
        if size is not None and size not in SIZES:
            raise ValueError(f"there is no size {size!r}; known: {', '.join(SIZES)}")
        preset = PRESETS.get(given.get("preset", "portable"), {})
        return {**preset, **(SIZES[size] if size is not None else {}), **given}

    @model_validator(mode="after")
    def _shape(self) -> ModelConfig:
        kv = self.kv_heads or self.heads
        if self.head_dim is None and self.dim % self.heads:
            raise ValueError(f"dim {self.dim} can't be divided among {self.heads} heads; make dim a multiple of heads")
        if self.heads % kv:
            raise ValueError(f"{self.heads} heads can't share {kv} kv_heads evenly; kv_heads must divide heads")
        if self.positions == "rotary" and (self.head_dim or self.dim // self.heads) % 2:
            raise ValueError("rotary positions need an even head_dim (dim / heads)")
        if self.positions != "rotary" and self.rope_scaling is not None:
            raise ValueError(f"rope_scaling is for rotary positions; these are {self.positions}")
        if self.full_attention_every and self.sliding_window is None:
            raise ValueError("full_attention_every needs a sliding_window; without one every layer sees everything")
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


class GuardConfig(Strict):
    """What is done about steps that would spoil the weights. A step whose loss or gradient isn't finite is never
    taken; neither is one that stands far above the last ones."""

    spike_sigma: float = Field(default=6.0, gt=0, le=1000)
    """So many standard deviations above the mean of the window (loss or gradient norm) is a spike."""
    window: int = Field(default=128, ge=8, le=100_000)
    """Steps that a new one is compared with. Before they are there, only what isn't finite is skipped."""
    rollback_after: int = Field(default=3, ge=1, le=100_000)
    """So many skipped steps within a window, and training goes back to the checkpoint before them, leaves their rows
    out and lowers the learning rate. A spike counts only next to another skipped step: alone it is the batch's."""
    rollback_lr_factor: float = Field(default=0.5, gt=0, le=1)
    max_rollbacks: int = Field(default=3, ge=0, le=1000)
    """Then the run is given up as diverged."""


class TrainConfig(Strict):
    """What pretraining and both kinds of fine-tuning have in common: one loop serves them all."""

    seed: int = Field(default=1, ge=0, le=2**31 - 1)
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: matrix products in bfloat16, master weights and optimizer state in fp32."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    z_loss: float = Field(default=0.0, ge=0, le=1)
    """Adds this times log(sum of exp(logits))^2 to each target's loss, which keeps logits small (Chowdhery et al. 2022;
    there 1e-4)."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Keep a moving average of the weights with this decay a step; validation and the saved model use it."""
    guard: GuardConfig = GuardConfig()
    eval_every: int = Field(default=100, ge=1, le=10**9)
    """Steps between validations; there is always one at the end."""
    eval_rows: int = Field(default=256, ge=1, le=10**9)
    """Validation rows (examples) used while training; the final one uses all."""


class PretrainConfig(TrainConfig):
    steps: int = Field(default=1000, ge=1, le=10**9)
    batch_tokens: int = Field(default=16_384, ge=8, le=10**9)
    """Tokens per optimizer step, whatever the micro-batch and the number of devices."""
    packing: Literal["concatenate", "best_fit"] = "concatenate"
    """How documents become rows. `concatenate`: one after another, cut wherever a row is full. `best_fit`: documents
    that fit into a row stay whole (Ding et al. 2024)."""
    document_mask: bool = False
    """Tokens don't see the other documents of their row."""


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


class ParallelConfig(Strict):
    """How several devices divide the work: data x tensor x pipeline = all processes."""

    processes: int = Field(default=1, ge=1, le=1024)
    """Processes (devices) on this machine, started by torchrun; 1 runs without it."""
    tensor: int = Field(default=1, ge=1, le=1024)
    """So many devices share every matrix (Shoeybi et al. 2019)."""
    pipeline: int = Field(default=1, ge=1, le=1024)
    """So many devices share the layers (Huang et al. 2019)."""
    data: Literal["ddp", "fsdp"] = "ddp"
    """What the rest do: `ddp` holds all weights on each and adds up gradients (Li et al. 2020), `fsdp` divides weights,
    gradients and optimizer state (FSDP2; Zhao et al. 2023)."""
    offload: bool = False
    """`fsdp` only: weights and optimizer state wait in the CPU's memory."""


class AttentionMapsConfig(Strict):
    """Pictures of what each head looks at, at chosen steps of pretraining."""

    sentences: tuple[str, ...] = Field(default=("The cat sat on the mat because it was tired.",), min_length=1)
    steps: tuple[Annotated[int, Field(ge=0, le=10**9)], ...] = ()
    """At these steps; at the end always."""


class LlmRuntime(Strict):
    """How it is computed. Nothing here enters a fingerprint."""

    device: str = "auto"
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda`, `cuda:0`, `mps`."""
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads; 0 leaves it to torch."""
    micro_batch_rows: int = Field(default=0, ge=0, le=10**6)
    """Rows per forward pass; 0 chooses. Accumulation makes up the rest of the batch."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; `auto`: on GPUs."""
    activation_checkpointing: Literal["auto", "none", "selective", "full"] = "auto"
    """What the backward pass computes again instead of keeping it (Chen et al. 2016). `selective`: all but the matrix
    products and attention. `auto`: as little as fits."""
    deterministic: bool = False
    """On GPUs: only kernels that give the same bits each time. Slower."""
    parallel: ParallelConfig = ParallelConfig()
    checkpoint_every_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """Between ephemeral checkpoints, of which the last `keep_checkpoints` stay."""
    keep_checkpoints: int = Field(default=2, ge=1, le=1_000)
    permanent_every_steps: int = Field(default=0, ge=0, le=10**9)
    """Checkpoints that stay for good, every so many steps. 0: none."""
    keep_best: bool = True
    """The checkpoint of the best validation stays too."""
    async_checkpoints: bool = True
    """Training goes on while a checkpoint is written."""
    hang_seconds: float = Field(default=0.0, ge=0, le=86_400)
    """A step that takes longer is a hang: stacks are written down and the process ends, to be resumed. 0: 20 times the
    median step, at least 10 minutes."""
    attention_maps: AttentionMapsConfig | None = None
    encoder: Literal["auto", "gigatoken", "fastokens", "tiktoken", "huggingface"] = "auto"
    """What turns text into ids. All give the same ids, which is checked at the start. `auto`: the fastest there is."""
    encode_workers: int = Field(default=0, ge=0, le=1024)
    """Processes that encode; 0 chooses."""
    log_every: int = Field(default=10, ge=1, le=10**6)
