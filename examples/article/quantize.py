"""Makes the files beside it: the article's model quantized in five ways, and its two mistakes.

pip install 'qgate[torch]' torchao
python quantize.py
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import torch
from model import Model, converted_dynamic, converted_eager, converted_fx
from torch import nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers the operators of programs
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

HERE = Path(__file__).parent
_TRACES = ("stack_trace", "from_node", "source_fn_stack", "torch_fn")


def quantized_program(
    model: nn.Module, data: torch.Tensor, *, symmetric: bool
) -> torch.export.ExportedProgram:
    """PT2E: export, prepare, calibrate, convert, export again.

    Args:
        model: The float model.
        data: Images to calibrate with.
        symmetric: int8 activations with zero point 0, as TensorRT asks for; else the X86 quantizer's uint8.
    """
    batch = ({0: torch.export.Dim("batch", min=1, max=1024)},)
    config = x86.get_default_x86_inductor_quantization_config()
    if symmetric:
        spec = replace(
            config.input_activation, dtype=torch.int8, quant_min=-128, quant_max=127,
            qscheme=torch.per_tensor_symmetric,
        )  # fmt: skip
        config = replace(config, input_activation=spec, output_activation=spec)
    prepared = prepare_pt2e(
        torch.export.export(model, (data,), dynamic_shapes=batch).module(),
        x86.X86InductorQuantizer().set_global(config),
    )
    prepared(data)
    program = torch.export.export(convert_pt2e(prepared), (data[:2].clone(),), dynamic_shapes=batch)
    # Where each node came from in this script is of no use to anybody, and most of the file.
    for node in program.graph.nodes:
        for key in _TRACES:
            node.meta.pop(key, None)
    return program


def main() -> None:
    """Writes all files."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    model = Model().eval()
    data = torch.randn(256, 3, 32, 32)
    torch.save(model.state_dict(), HERE / "fp32.pt")
    torch.save(converted_eager(model, data).state_dict(), HERE / "eager_int8.pt")
    torch.save(converted_fx(model, data).state_dict(), HERE / "fx_int8.pt")
    torch.save(converted_dynamic(model).state_dict(), HERE / "dynamic_int8.pt")
    for name, symmetric in (("pt2e_x86.pt2", False), ("pt2e_symmetric.pt2", True)):
        torch.export.save(quantized_program(model, data, symmetric=symmetric), HERE / name)
    # The first mistake: no qconfig, so that convert has nothing to convert.
    torch.save(converted_eager(model, data, qconfig=False).state_dict(), HERE / "no_qconfig.pt")
    # The second: the quantized model compared with a model that was made anew, with other weights.
    torch.manual_seed(1)
    torch.save(Model().state_dict(), HERE / "fresh.pt")


if __name__ == "__main__":
    main()
