"""The quantizers of PyTorch for ``bench/verdicts.py``, each with the exporter that takes what it makes."""

from __future__ import annotations

from typing import Any

from verdicts_jobs import Job, quiet
from verdicts_nets import Net, Op, forward


class Module:
    """A net as a PyTorch module of submodules, as its quantizers want it."""

    @staticmethod
    def of(net: Net) -> Any:
        """Builds it; nets with branches are not for this."""
        import torch
        from torch import nn

        parts: list[Any] = []
        for op in net.ops:
            parts.append(Module.part(op, net, len(net.shape) - 1))
            if op.name:
                weight = torch.from_numpy(net.weights[f"{op.name}.w"].copy())
                parts[-1].weight.data = weight if op.kind == "conv" else weight.T.contiguous()
                parts[-1].bias.data = torch.from_numpy(net.weights[f"{op.name}.b"].copy())
        made = nn.Sequential(*parts).eval()
        x = torch.randn(4, *net.shape)
        values = {name: torch.from_numpy(each) for name, each in net.weights.items()}
        if float((made(x) - forward(net.ops, values, x)).abs().max()) > 1e-3:
            raise AssertionError("the module is another net")
        return made

    @staticmethod
    def part(op: Op, net: Net, spatial: int) -> Any:
        """One operation as a module."""
        from torch import nn

        if op.kind in ("gemm", "matmul"):
            return nn.Linear(*net.weights[f"{op.name}.w"].shape)
        if op.kind == "conv":
            out, inside, size = net.weights[f"{op.name}.w"].shape[:3]
            kind = nn.Conv1d if spatial == 1 else nn.Conv2d
            return kind(inside * op.groups, out, size, op.stride, op.pad, groups=op.groups)
        pool = nn.MaxPool1d if spatial == 1 else nn.MaxPool2d
        return {"relu": nn.ReLU, "relu6": nn.ReLU6, "flatten": nn.Flatten, "maxpool": lambda: pool(2)}[
            op.kind
        ]()


def torch_fx(job: Job) -> None:
    """PyTorch's FX graph mode, exported by the legacy exporter."""
    import torch
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    with quiet():
        torch.backends.quantized.engine = "onednn"
        samples = torch.from_numpy(job.calibration)
        prepared = prepare_fx(Module.of(job.net), get_default_qconfig_mapping("onednn"), (samples[:2],))
        prepared(samples)
        made = convert_fx(prepared)
        original = Module.of(job.original or job.net)
        for module, path in ((made, job.target), (original, job.reference)):
            torch.onnx.export(
                module, (samples[:2],), str(path), dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
                dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
            )  # fmt: skip


def torch_pt2e(job: Job) -> None:
    """torchao's PT2E with the quantizer for x86, exported by the dynamo exporter."""
    import torch
    from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers its operators
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    with quiet():
        samples = torch.from_numpy(job.calibration)
        batch = ({0: torch.export.Dim("N", min=1, max=4096)},)
        module = torch.export.export(Module.of(job.net), (samples[:2],), dynamic_shapes=batch).module()
        config = x86.get_default_x86_inductor_quantization_config()
        prepared = prepare_pt2e(module, x86.X86InductorQuantizer().set_global(config))
        prepared(samples)
        original = Module.of(job.original or job.net)
        for made, path in ((convert_pt2e(prepared), job.target), (original, job.reference)):
            torch.onnx.export(
                made, (samples[:2],), str(path), dynamo=True, external_data=False, dynamic_shapes=batch,
                input_names=["x"], output_names=["y"], verbose=False,
            )  # fmt: skip
