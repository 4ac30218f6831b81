"""Builds the corpus: ``python -m tests.corpus.build OUT --selection small|full``.

OUT receives one folder a case, the references with their data, ``manifest.json`` (a list of cases) and
``skipped.json`` (what could not be planted or does not load, and why). The same seeds give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.corpus import faults, graph, models, selection
from tests.corpus.harmless import VARIANTS
from tests.corpus.honest import RECIPES

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
POOR_DB = {"int8": 12.0, "int4": 12.0, "fp16": 40.0, "fp8": 12.0, "none": 60.0}
MOSTLY_FLOAT = 0.5
FAINT_DB = 60.0


class Builder:
    """Builds cases one by one and remembers what is shared between them."""

    def __init__(self, out: Path, examples: Path) -> None:
        self.out = out
        self.shelf = models.Shelf(examples)
        self.scratch = Path(tempfile.mkdtemp(prefix="corpus-"))
        self.models: dict[tuple[str, int], models.FloatModel] = {}
        self.candidates: dict[tuple[str, str], onnx.ModelProto] = {}
        self.cases: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []

    def model(self, name: str, seed: int = 0) -> models.FloatModel:
        """A float model, made once; seed 0 is written out as the reference."""
        key = (name, seed)
        if key not in self.models:
            made = models.make(name, self.shelf, seed)
            self.models[key] = made
            if seed == 0:
                folder = self.out / "references" / name
                folder.mkdir(parents=True, exist_ok=True)
                onnx.save(made.proto, folder / "reference.onnx")
                np.savez_compressed(folder / "data.npz", **made.data)
        return self.models[key]

    def candidate(self, model: str, recipe: str) -> onnx.ModelProto:
        """An honest candidate, made once and seen to load and run."""
        key = (model, recipe)
        if key not in self.candidates:
            made = RECIPES[recipe].make(self.model(model), self.scratch)
            if made.SerializeToString() == self.model(model).proto.SerializeToString():
                raise faults.NoPlaceError("nothing was quantized")
            known = RECIPES[recipe]
            if not graph.weights(made) and not known.debatable and known.form != "float":
                raise faults.NoPlaceError("no weight was quantized")
            self._outputs(self.model(model), made, recipe, 4)
            self.candidates[key] = made
        return self.candidates[key]

    def _outputs(
        self, model: models.FloatModel, proto: onnx.ModelProto | Path, recipe: str, limit: int = 64
    ) -> models.Arrays:
        inputs = model.inputs
        if RECIPES[recipe].half_io:
            inputs = {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in inputs.items()}
        if RECIPES[recipe].form != "dynamic":
            return models.run(proto, inputs, limit)
        ready = models.session(proto)
        names = [entry.name for entry in ready.get_outputs()]
        rows = [ready.run(names, {k: v[i : i + 1] for k, v in inputs.items()}) for i in range(limit)]
        return {name: np.concatenate([row[p] for row in rows]) for p, name in enumerate(names)}

    def entry(self, identity: str, model: str, recipe: str, **fields: Any) -> dict[str, Any]:
        """A manifest entry; paths are relative to the corpus folder."""
        made = self.model(model)
        known = RECIPES[recipe]
        return {
            "id": identity,
            "file": f"{identity}/model.onnx",
            "reference": f"references/{model}/reference.onnx",
            "data": f"references/{model}/data.npz",
            "labels": "label" if made.labels is not None else None,
            "task": made.task,
            "base": f"{model}/{recipe}",
            "scheme": "none" if known.scheme == "none" else "auto",
            "settings": {"io_type": _half_types(made.proto)} if known.half_io else {},
            **fields,
        }

    def skip(self, identity: str, reason: object) -> None:
        self.skipped.append({"id": identity, "reason": str(reason).replace("\n", " ")[:300]})

    def quality(self, model: str, recipe: str, proto: onnx.ModelProto | Path) -> dict[str, float]:
        """SQNR in dB of the worst float output, and how much top-1 accuracy falls."""
        made = self.model(model)
        limit = len(next(iter(made.inputs.values()))) if made.task == "top1" else 64
        want, got = models.run(made.proto, made.inputs, limit), self._outputs(made, proto, recipe, limit)
        found = {"share": round(_share(made.proto, proto), 3)} if isinstance(proto, onnx.ModelProto) else {}
        worst = min(_sqnr(want[name], got[name]) for name in want)
        found["sqnr_db"] = round(worst, 2)
        if made.task == "top1" and made.labels is not None:
            first = next(iter(want))
            drop = np.mean(want[first].argmax(-1) == made.labels) - np.mean(
                got[first].argmax(-1) == made.labels
            )
            found["top1_drop"] = round(float(drop), 4)
        return found

    def honest(self, model: str, recipe: str) -> None:
        """One honest case."""
        identity = f"h_{model}_{recipe}"
        known = RECIPES[recipe]
        if not known.available:
            self.skip(identity, f"needs {', '.join(known.needs)}")
            return
        try:
            made = self.candidate(model, recipe)
            measured = self.quality(model, recipe, made)
        except Exception as error:
            self.skip(identity, f"{type(error).__name__}: {error}")
            return
        debatable = known.debatable
        if measured["sqnr_db"] < POOR_DB[known.scheme] or measured.get("top1_drop", 0) > 0.02:
            debatable = f"honest but poor: {measured}"
        elif known.scheme != "none" and measured["share"] < MOSTLY_FLOAT:
            debatable = f"mostly float: {measured['share']:.0%} of the parameters are quantized"
        folder = self.out / identity
        folder.mkdir()
        onnx.save(made, folder / "model.onnx")
        self.cases.append(self.entry(
            identity, model, recipe, kind="honest", fault=f"HONEST: {recipe}", expected_verdict="pass",
            must_localise_to=None, family="c", debatable=debatable, expected_scheme=known.scheme, **measured,
        ))  # fmt: skip

    def twin(self, model: str, recipe: str) -> None:
        """The honest case that a fault was planted on: a fault is only caught where its twin passes."""
        if all(case["id"] != f"h_{model}_{recipe}" for case in self.cases):
            self.honest(model, recipe)

    def variant(self, model: str, recipe: str, name: str) -> None:
        """One harmless change of an honest candidate."""
        identity = f"c_{model}_{recipe}_{name}"
        known = VARIANTS[name]
        if not known.available:
            self.skip(identity, f"needs {', '.join(known.needs)}")
            return
        folder = self.out / identity
        try:
            made = graph.clone(self.candidate(model, recipe))
            folder.mkdir()
            changed = known.make(made, folder)
            if changed is not None:
                onnx.save(changed, folder / "model.onnx")
            measured = self.quality(model, recipe, folder / "model.onnx")
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            self.skip(identity, f"{type(error).__name__}: {error}")
            return
        self.cases.append(self.entry(
            identity, model, recipe, kind="control", fault=f"HARMLESS: {name}", expected_verdict="pass",
            must_localise_to=None, family="c", debatable=known.debatable, **measured,
        ))  # fmt: skip

    def fault(self, fault: faults.Fault, model: str, recipe: str) -> bool:
        """One planted fault; False where this candidate has no place for it."""
        identity = f"{fault.id}__{model}_{recipe}"
        known = RECIPES[recipe]
        if known.form not in fault.forms or not known.available:
            return False
        folder = self.out / identity
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            subject = faults.Subject(
                model=self.model(model), recipe=known, candidate=self.candidate(model, recipe),
                requantize=lambda other: known.make(other, self.scratch),
                retrain=lambda seed: self.model(model, seed),
                folder=folder, rng=np.random.default_rng(zlib.crc32(identity.encode())),
            )  # fmt: skip
            planted = fault.plant(subject)
            effect = self._check(fault, subject, planted)
        except faults.NoPlaceError:
            shutil.rmtree(folder)
            return False
        except Exception as error:
            shutil.rmtree(folder)
            self.skip(identity, f"{type(error).__name__}: {error}")
            return False
        other = {"fail": "error", "error": "fail"}[fault.expected]
        case = self.entry(
            identity, model, recipe, kind="fault", family=fault.family, expected_verdict=fault.expected,
            fault=(fault.plant.__doc__ or fault.id[5:].replace("_", " ")).strip().splitlines()[0],
            also_accept=[other] if fault.either else [], must_localise_to=list(dict.fromkeys(planted.at)),
            detail=planted.detail, debatable=fault.debatable, **effect,
        )  # fmt: skip
        case["scheme"] = planted.scheme or case["scheme"]
        self.cases.append(case)
        return True

    def _check(self, fault: faults.Fault, s: faults.Subject, planted: faults.Planted) -> dict[str, Any]:
        """Writes the spoiled model, sees that it differs, and measures what the fault does where it runs."""
        target = s.folder / "model.onnx"
        if planted.model is not None:
            if planted.model.SerializeToString() == s.candidate.SerializeToString() and not planted.scheme:
                raise faults.NoPlaceError("nothing changed")
            onnx.save(planted.model, target)
        if not fault.runs:
            return {}
        honest = self._outputs(s.model, s.candidate, s.recipe.id, 32)
        try:
            spoiled = self._outputs(s.model, target, s.recipe.id, 32)
        except Exception as error:
            return {"runs": False, "why": str(error).replace("\n", " ")[:160]}
        shared = [name for name in honest if name in spoiled and spoiled[name].shape == honest[name].shape]
        if not shared:
            return {"runs": True}
        effect = round(min(_sqnr(honest[name], spoiled[name]) for name in shared), 1)
        if fault.shows and effect > FAINT_DB:
            raise faults.NoPlaceError("no output changes")
        return {"runs": True, "effect_db": effect}


def _share(reference: onnx.ModelProto, candidate: onnx.ModelProto) -> float:
    """Elements of quantized weights per float parameter of the reference."""
    stored = graph.initializers(candidate)
    packed = {w.tensor: 2 if w.form == "nbits" else 1 for w in graph.weights(candidate, minimum=1)}
    quantized = sum(int(np.prod(stored[name].dims)) * factor for name, factor in packed.items())
    floats = [t for t in reference.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    return quantized / max(1, sum(int(np.prod(t.dims)) for t in floats))


def _half_types(reference: onnx.ModelProto) -> list[str]:
    """``NAME=float16`` for every float input and output."""
    ends = [*reference.graph.input, *reference.graph.output]
    return [f"{e.name}=float16" for e in ends if e.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]


def _sqnr(want: np.ndarray, got: np.ndarray) -> float:
    """Signal to error in dB, -99 where something is not finite, 300 where equal."""
    a, b = want.astype(np.float64), got.astype(np.float64)
    if not np.isfinite(b).all():
        return -99.0
    error = np.linalg.norm(a - b)
    return 300.0 if error == 0 else float(20 * np.log10(max(np.linalg.norm(a), 1e-30) / error))


def build(out: Path, *, size: str, examples: Path, only: str = "", per_fault: int | None = None) -> Builder:
    """Builds a selection into an empty folder."""
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{out} is not empty")
    out.mkdir(parents=True, exist_ok=True)
    builder, wanted = Builder(out, examples), re.compile(only)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model, recipe in selection.honest_pairs(size, list(models.MODELS)):
            if wanted.search(f"h_{model}_{recipe}"):
                builder.honest(model, recipe)
        for model, recipe, name in selection.variant_pairs(size):
            if wanted.search(f"c_{model}_{recipe}_{name}"):
                builder.variant(model, recipe, name)
        count = per_fault or {"small": 1, "full": 4}[size]
        for position, fault in enumerate(faults.load_all().values()):
            left = count
            for model, recipe in selection.fault_bases(position):
                if left and wanted.search(f"{fault.id}__{model}_{recipe}"):
                    planted = builder.fault(fault, model, recipe)
                    left -= planted
                    if planted:
                        builder.twin(model, recipe)
            if left == count and wanted.search(fault.id):
                builder.skip(fault.id, "no candidate has a place for it")
    (out / "manifest.json").write_text(json.dumps(builder.cases, indent=1, sort_keys=True) + "\n")
    (out / "skipped.json").write_text(json.dumps(builder.skipped, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(builder.scratch, ignore_errors=True)
    return builder


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--selection", choices=["small", "full"], default="small")
    parser.add_argument("--examples", type=Path, default=EXAMPLES, help="folder with the example models")
    parser.add_argument("--only", default="", help="regular expression that case ids must match")
    parser.add_argument("--per-fault", type=int, help="on how many candidates each fault is planted")
    arguments = parser.parse_args()
    start = time.perf_counter()
    builder = build(
        arguments.out, size=arguments.selection, examples=arguments.examples, only=arguments.only,
        per_fault=arguments.per_fault,
    )  # fmt: skip
    kinds = {
        kind: sum(case["kind"] == kind for case in builder.cases) for kind in ("honest", "control", "fault")
    }
    print(f"{kinds} in {time.perf_counter() - start:.0f} s, {len(builder.skipped)} skipped (skipped.json)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
