"""The options that name one pair: its models, its data, what it is for and who must have signed it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from qgate.commands.choices import Nearest
from qgate.runtimes.registry import RUNTIMES

SCHEMES = ("auto", "int8", "int4", "fp16", "fp8", "none")
DERIVATIONS = ("auto", "exact", "folded", "qat", "none")
TASKS = ("top1", "topk", "balanced_accuracy", "macro_f1", "ece", "mae", "rmse", "r2", "recall_at_k", "neighbours",
         "perplexity", "miou", "pixel_accuracy", "cer", "exact_match", "map", "map50", "same_boxes", "python",
         "decoded", "none")  # fmt: skip

_Command = Callable[..., None]

_OF_THE_INTERFACE = (
    click.option("--io-map", multiple=True, metavar="REF=CAND",
                 help="Candidate's name of an input or output; empty if it has none."),
    click.option("--io-optional", multiple=True, metavar="NAME", help="Input that one side may lack."),
    click.option("--io-type", multiple=True, metavar="NAME=DTYPE", help="Candidate's element type of an input."),
    click.option("--io-shape", multiple=True, metavar="NAME=1x576",
                 help="Candidate's shape of an input or output; ? is any size."),
)  # fmt: skip

_OF_A_PAIR = (
    click.option("--reference", "-r", type=click.Path(path_type=Path), help="Full-precision model."),
    click.option("--candidate", "-c", type=click.Path(path_type=Path), help="Quantized model."),
    click.option("--inputs", "-i", type=click.Path(path_type=Path), help="X.npz: arrays named as the model's "
                  "inputs, first axis the samples; or a .csv, .parquet, COCO's .json, datasets' folder or one of .npy files. "
                  "Seeded inputs without it."),
    click.option("--images", type=click.Path(path_type=Path), help="Folder of images in place of X.npz; with "
                  "--labels image.folder, each folder in it is a class."),
    click.option("--prepare", multiple=True, metavar="NAME[=VALUE]", help="How images become arrays: imagenet, clip, "
                  "signed, raw, and size, shorter, mean, std, ... as in a policy; repeatable."),
    click.option("--labels", metavar="KEY", help="Array of labels in X.npz."),
    click.option("--slices", metavar="KEY", help="Array in X.npz that names each sample's slice."),
    click.option("--task", type=Nearest(TASKS), metavar="METRIC",
                  help="Task metric (top1, macro_f1, mae, ...); by default what the labels suggest."),
    click.option("--task-option", multiple=True, metavar="NAME=VALUE", help="What the task is told beside its "
                  "metric: k, ignore, text, format, score, ...; repeatable."),
    click.option("--task-code", metavar="CODE", help="path/to/file.py:function that scores (--task python) or "
                  "decodes (--task decoded)."),
    click.option("--cost", type=Nearest(("size", "full")), default="size", show_default=True,
                  help="full measures latency, throughput, memory and load time of one pair."),
    click.option("--scheme", type=Nearest(SCHEMES), default="auto", show_default=True,
                  help="What the candidate must be; none verifies two float models as equivalent."),
    click.option("--derivation", type=Nearest(DERIVATIONS), default="auto", show_default=True,
                  help="How weights must follow from the reference."),
    *_OF_THE_INTERFACE,
    click.option("--profile", help="strict, balanced or permissive, for one pair.  [default: balanced]"),
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True,
                  help="Seed of generated inputs."),
    click.option("--samples", type=click.IntRange(1, 100_000), help="How many inputs are generated."),
    click.option("--signature", type=click.Path(path_type=Path), metavar="BUNDLE",
                  help="OpenSSF Model Signing bundle over exactly the candidate's files; needs a signer."),
    click.option(
        "--signing-key", type=click.Path(path_type=Path), help="PEM file of the public key that signed."
    ),
    click.option("--signing-certificate", type=click.Path(path_type=Path),
                  help="PEM file of the certificates that the signing one must lead to."),
    click.option("--signing-identity", metavar="NAME", help="Sigstore identity that signed."),
    click.option("--signing-issuer", metavar="URL", help="OpenID Connect issuer of that identity."),
    click.option("--trusted-root", type=click.Path(path_type=Path),
                  help="Sigstore trusted root (JSON) instead of the public instance's."),
    click.option("--runtime", type=Nearest(tuple(RUNTIMES)), multiple=True,
                  help="Where the candidate must run as well; repeatable."),
    click.option("--deploy", type=Nearest(("avx2",)), help="It is served by processors with AVX2 and no VNNI."),
    click.option("--factory", metavar="CODE", help="path/to/file.py:function that builds the PyTorch modules of "
                  "checkpoints, both sides'."),
    click.option("--candidate-factory", metavar="CODE", help="The candidate's, where it is another one."),
    click.option("--reference-factory", metavar="CODE", help="The reference's, likewise."),
    click.option("--trust", type=click.Choice(("data", "code")), default="data", show_default=True,
                  help="code runs files that hold programs (.pt2, TorchScript, .pte), in the sandbox."),
    click.option("--sandbox", type=Nearest(("required", "reduced")), default="required", show_default=True,
                  help="reduced runs one pair even where the kernel has no Landlock or seccomp."),
)  # fmt: skip


def io_options(command: _Command) -> _Command:
    """Adds the options that declare differences of the interface, see ``commands.interface``."""
    return _added(_OF_THE_INTERFACE, command)


def pair_options(command: _Command) -> _Command:
    """Adds all options of one pair, in the order of the help."""
    return _added(_OF_A_PAIR, command)


def _added(options: tuple[Callable[[_Command], _Command], ...], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command
