"""PT2E quantization by torchao, exported to ONNX by torch's dynamo exporter."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx

from tests.corpus import nets
from tests.corpus.models import FloatModel


def pt2e(model: FloatModel, work: Path) -> onnx.ModelProto:
    """The small MLP, trained again with the same seed, through PT2E with the x86 quantizer."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    if model.name != "mlp":
        raise ValueError("PT2E is built for the MLP only")
    x, y = nets.blobs()
    net = nets.train(nets.mlp(0), (x,), y, seed=0)
    example = (nets.tensor(x[:8]),)
    batch = {0: torch.export.Dim("N", min=1, max=4096)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        captured = torch.export.export(net, example, dynamic_shapes=(batch,)).module()
        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
        prepared = prepare_pt2e(captured, quantizer)
        for feed in model.feeds():
            prepared(nets.tensor(feed["features"]))
        converted = convert_pt2e(prepared)
        target = work / "pt2e.onnx"
        torch.onnx.export(
            converted,
            example,
            target,
            input_names=["features"],
            output_names=["scores"],
            dynamic_shapes=(batch,),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return onnx.load(target)
