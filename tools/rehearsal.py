"""Writes the tiny program that the child rehearses with, see ``qgate/runtimes/pytorch/libraries.py``.

    python tools/rehearsal.py

Needs the extras `torch` and `test`.
"""

from __future__ import annotations

import torch
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

from qgate.runtimes.pytorch.libraries import REHEARSAL


def main() -> None:
    """Writes the program."""
    sample = (torch.zeros(2, 2),)
    dynamic = ({0: torch.export.Dim("n", min=1, max=64)},)
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    program = torch.export.export(torch.nn.Linear(2, 2).eval(), sample, dynamic_shapes=dynamic)
    prepared = prepare_pt2e(program.module(), quantizer)
    prepared(*sample)
    torch.export.save(torch.export.export(convert_pt2e(prepared), sample, dynamic_shapes=dynamic), REHEARSAL)


if __name__ == "__main__":
    main()
