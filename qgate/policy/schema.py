"""``qgate.yml`` version 1 as types, and the JSON Schema that editors complete and check it with.

What each key holds is said here, what one value may be in ``qgate.policy.values``; what keys mean together (names that
must exist, thresholds that a rule must have) is checked in ``qgate.policy.check``. ``python -m qgate.policy.schema``
prints the JSON Schema that is kept in ``schemas/qgate-policy-v1.json``.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, PositiveInt, Strict, StrictBool
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from qgate.policy.values import (
    Approval,
    BoxFormat,
    Day,
    Deploy,
    Derivation,
    DType,
    Finite,
    Host,
    Metric,
    Name,
    NonEmpty,
    Operator,
    Runtime,
    Scheme,
    Side,
    Text,
    Thresholds,
    Version,
    Whole,
)
from qgate.records import Record
from qgate.sources.locator import Locator
from qgate.sources.python_code import PythonSpec


class ProfileSpec(Record):
    """A profile of the team's own: another profile with some thresholds changed."""

    extends: str = Field(default="balanced", description="strict, balanced, permissive or another profile")
    thresholds: Thresholds = Field(default={}, description="Thresholds by rule and parameter")
    metric_thresholds: dict[Metric, Thresholds] = Field(
        default={}, description="Those of one metric, by rule and parameter"
    )


class ImagesSpec(Record):
    """How the images of a data set become arrays; see ``measure.preprocessing``."""

    size: Annotated[tuple[Side, Side], Field(description="Height and width of the array")]
    mode: Literal["RGB", "BGR", "L"] = Field(default="RGB", description="Channels; L is grey")
    shorter: Side | None = Field(
        default=None,
        description="Resize the shorter side to this and cut `size` from the centre; stretched without",
    )
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    scale: Finite | None = Field(default=None, description="Values 0 to 255 times this; 1/255 without it")
    mean: tuple[Finite, ...] = Field(
        default=(), description="Subtracted after that, by channel or one for all"
    )
    std: tuple[Annotated[Finite, Field(gt=0)], ...] = Field(default=(), description="Divided by after that")
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    classes: tuple[Text, ...] = Field(default=(), description="Folders in the order of the model's classes")


class DataSpec(Record):
    """The inputs that both models are run on."""

    inputs: Locator = Field(
        description="An .npz with arrays named as the model's inputs, samples first; a .csv, a .parquet, or the "
        "state.json of a datasets folder"
    )
    labels: Text | None = Field(default=None, description="Array of the .npz with labels or target values")
    slices: Text | None = Field(default=None, description="Array of the .npz with each sample's slice")
    images: ImagesSpec | None = Field(default=None, description="How images become arrays")


UNLABELLED = ("none", "neighbours", "same_boxes", "python", "decoded")
"""Metrics that need no labels."""

BOXES = ("map", "map50", "same_boxes")
"""Metrics of boxes."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "k": ("topk", "recall_at_k"),
    "ignore": ("perplexity", "miou", "pixel_accuracy", "cer", "exact_match"),
    "text": ("cer", "exact_match"),
    "blank": ("cer", "exact_match"),
    "better": ("python",),
    **dict.fromkeys(("boxes", "scores", "classes", "format", "score"), BOXES),
    "label_format": ("map", "map50"),
}
"""What each option of a task is for."""


class TaskSpec(Record):
    """What the model is for, so that behaviour can be judged."""

    metric: Metric = Field(description="How outputs are scored with labels")
    output: Text | None = Field(default=None, description="The reference's output that is scored")
    k: Annotated[PositiveInt, Strict()] | None = Field(
        default=None, le=1000, description="How many of the highest or nearest count: topk, recall_at_k"
    )
    ignore: Annotated[int, Strict()] | None = Field(
        default=None, description="Label of what is not judged: perplexity, miou, pixel_accuracy, cer"
    )
    text: Literal["argmax", "ctc", "ids"] | None = Field(
        default=None, description="How outputs are read as text: cer, exact_match; argmax without it"
    )
    blank: Annotated[int, Strict()] | None = Field(
        default=None, ge=0, description="The blank of `text: ctc`; 0 without it"
    )

    better: Literal["higher", "lower"] | None = Field(
        default=None, description="Which scores of `metric: python` are better; higher without it"
    )
    boxes: Text | None = Field(default=None, description="Output of boxes: map, map50, same_boxes")
    scores: Text | None = Field(default=None, description="Output of the boxes' scores")
    classes: Text | None = Field(default=None, description="Output of the boxes' classes")
    format: BoxFormat | None = Field(
        default=None, description="How four numbers of the output are a box; xyxy without it"
    )
    label_format: BoxFormat | None = Field(default=None, description="The same of the labels")
    score: Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Boxes of at least this score are what a user sees; 0.25 without it"
    )
    python: PythonSpec | None = Field(
        default=None,
        description="The function of `metric: python` (scores) and `metric: decoded` (answers), or what decodes boxes",
    )

    def options(self) -> dict[str, float | str]:
        """What is given beside metric and output."""
        given = {name: getattr(self, name) for name in OPTIONS}
        return {name: value for name, value in given.items() if value is not None}


class IoSpec(Record):
    """Differences of the interface that are intended."""

    map: dict[Text, Text] = Field(default={}, description="Reference input or output to candidate's name")
    optional: tuple[Text, ...] = Field(default=(), description="Inputs that one side may lack")
    types: dict[Text, DType] = Field(default={}, description="Input or output to candidate's dtype")
    shapes: dict[Text, NonEmpty[Whole | None]] = Field(
        default={}, description="Input or output to candidate's shape; null is any size"
    )


class SignatureSpec(Record):
    """Who must have signed the candidate (OpenSSF Model Signing, a Sigstore bundle beside the files)."""

    bundle: Locator = Field(description="The signature bundle, for example models/plate_int8.onnx.sig")
    key: Locator | None = Field(default=None, description="PEM file of the public key that signed")
    certificate: Locator | None = Field(
        default=None, description="PEM file of the certificates that the signing certificate must lead to"
    )
    identity: Text | None = Field(default=None, description="Sigstore identity that signed; needs `issuer`")
    issuer: Text | None = Field(default=None, description="OpenID Connect issuer that vouches for `identity`")
    trusted_root: Locator | None = Field(
        default=None, description="Sigstore trusted root (JSON); the public instance's without it"
    )


class FactorySpec(Record):
    """Functions that build the PyTorch modules that checkpoints are loaded into, for each side."""

    candidate: PythonSpec | None = Field(default=None, description="Builds the candidate's module")
    reference: PythonSpec | None = Field(default=None, description="Builds the reference's module")


def _factory(value: object) -> object:
    return {"candidate": value, "reference": value} if isinstance(value, str) else value


class _OrOneFunction:
    """Tells editors that one string is as good as the keys."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "minLength": 3}, handler(core_schema)]}


class Target(Record):
    """A named pair: a candidate that claims to come from a reference."""

    name: Name
    candidate: Locator = Field(description="The quantized model")
    reference: Locator | None = Field(default=None, description="The full-precision model")
    data: DataSpec | None = Field(default=None, description="Inputs and labels; seeded inputs without it")
    task: TaskSpec | None = None
    scheme: Scheme = Field(
        default="auto", description="auto: must be quantized, somehow; none: equivalence of two float models"
    )
    derivation: Derivation = Field(default="auto", description="How weights must follow from the reference")
    io: IoSpec = IoSpec()
    runtimes: NonEmpty[Runtime] = Field(default=("onnxruntime",), description="Where the candidate must run")
    deploy: Deploy | None = Field(
        default=None, description="avx2: it is served by processors with AVX2 and no VNNI"
    )
    profile: str | None = Field(default=None, description="Replaces the policy's profile")
    thresholds: Thresholds = Field(default={}, description="Replace the profile's, by rule and parameter")
    slice_thresholds: dict[Text, Thresholds] = Field(
        default={},
        description="Those of one slice, as ARRAY=VALUE, or class, as label=VALUE, by rule and parameter",
    )
    metric_thresholds: dict[Metric, Thresholds] = Field(
        default={}, description="Those of one metric, by rule and parameter"
    )
    require_baseline: StrictBool | None = Field(default=None, description="Replaces the policy's")
    signature: SignatureSpec | None = Field(default=None, description="Who must have signed the candidate")
    cost: Literal["size", "full"] = Field(
        default="size",
        description="full: latency, throughput, memory and load time are measured beside the size",
    )
    require_signature: StrictBool = Field(
        default=False, description="A candidate without a valid signature is an error"
    )
    factory: Annotated[FactorySpec, BeforeValidator(_factory), _OrOneFunction] | None = Field(
        default=None,
        description="Code of the trusted side that builds PyTorch modules, as path/to/file.py:function; "
        "one function for both, or `candidate` and `reference`",
    )
    trust: Literal["data", "code"] = Field(
        default="data",
        description="code: files that hold code (TorchScript, pickled modules) are not refused",
    )


class Waiver(Record):
    """A finding that is known and accepted until a day; what could not be measured is never waived."""

    target: Name
    rule: str = Field(description="Id of the rule, for example RNG104")
    at: Text | None = Field(
        default=None, description="Exact place as the report prints it; all places without"
    )
    reason: Text
    until: Day = Field(description="Last day (UTC) on which the waiver holds")


class ApprovalSpec(Record):
    """How a maintainer approves what the policy lets be approved."""

    label: Text = Field(default="qgate-approved", description="The pull request's label")


class Limits(Record):
    """What measuring one target may use."""

    memory_mb: Whole = Field(default=8192, le=2**24, description="Address space of the child, MiB")
    cpu_seconds: Whole = Field(default=1800, le=86_400, description="Processor time of the child, s")
    wall_seconds: Whole = Field(default=1800, le=86_400, description="Time by the clock of the child, s")
    file_mb: Whole = Field(default=64, le=2**20, description="Largest file that the child may write, MiB")
    download_mb: Whole = Field(default=4096, le=2**20, description="Largest file that is fetched, MiB")


class Policy(Record):
    """A whole ``qgate.yml``."""

    version: Version = Field(description="Version of this format")
    profile: str = Field(default="balanced", description="strict, balanced, permissive or one of `profiles`")
    profiles: dict[Name, ProfileSpec] = Field(default={}, description="Profiles of the team's own")
    targets: NonEmpty[Target] = Field(description="The pairs that are verified")
    waivers: tuple[Waiver, ...] = ()
    rereference: Literal["approve", "allow", "forbid"] = Field(
        default="approve", description="A change of a target's reference, data, labels or task"
    )
    accept: Approval = Field(default="approve", description="A new baseline that is worse than the old one")
    loosen: Approval = Field(default="approve", description="A change that loosens this policy")
    require_baseline: StrictBool = Field(default=False, description="No baseline at all is an error")
    allow_hosts: tuple[Host, ...] = Field(
        default=(), description="Hosts (name or name:port) that may have private addresses and speak http://"
    )
    approval: ApprovalSpec = ApprovalSpec()
    limits: Limits = Limits()
    sandbox: Literal["required", "reduced"] = Field(
        default="required", description="reduced: models run even where Landlock or seccomp cannot be engaged"
    )
    allow_ops: tuple[Operator, ...] = Field(
        default=(), description="Operators beyond the known ones, as domain::OpType"
    )

    def target(self, name: str) -> Target | None:
        """The target of that name, if there is one."""
        return next((target for target in self.targets if target.name == name), None)

    def requires_baseline(self, target: Target) -> bool:
        """Whether the target must have a baseline: its own word before the policy's."""
        return self.require_baseline if target.require_baseline is None else target.require_baseline


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a policy, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Policy.model_json_schema(mode="validation"),
        "title": "qgate policy, version 1",
    }


def render_json_schema() -> str:
    """``json_schema`` as the text of the file in ``schemas/``."""
    return json.dumps(json_schema(), indent=2, sort_keys=True, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    print(render_json_schema(), end="")
