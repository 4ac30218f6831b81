"""QNT1: really quantized, as declared."""

from qgate.records import Place, Verdict

from .cases import ERROR, SILENT, Case, ladder, measured, missing, weight_of

_MODEL = Place()


def _share(value: float):
    return (measured("quant.share", value, _MODEL, n=1000, types={}, float_weights=[]),)


def _scheme(value: str):
    return (measured("quant.scheme", value, _MODEL, types={}, float_weights=[]),)


def _bits(ratio: float):
    return (measured("quant.bits", ratio * 32, _MODEL), measured("quant.reference_bits", 32, _MODEL))


def _activations(share: float):
    return (
        measured(
            "quant.activation_share",
            share,
            _MODEL,
            n=100,
            quantized=3 if share else 0,
            dynamic=0,
            first=["conv"],
        ),
    )


_INT8 = {"scheme": "int8"}

CASES = (
    *ladder("QNT101", "min_share", _share, at_least=True, step=1e-6, says="stored in fewer than 32 bits", at="file model"),
    Case("QNT101", "nothing quantized", _share(0.0), ERROR, "nothing is quantized"),
    Case("QNT101", "no weights", (missing("quant.share", "the model has no weights", _MODEL),), ERROR, "no weights",
         effect=Verdict.INCONCLUSIVE),
    Case("QNT101", "exchanged with the reference",
         (*_share(0.0), measured("quant.bits", 32.0, _MODEL), measured("quant.reference_bits", 8.0, _MODEL)), ERROR,
         "reference and candidate are exchanged"),
    Case("QNT101", "two float models", _share(0.0), SILENT, declared={"scheme": "none"}),
    Case("QNT102", "int4 behind an int8 label", _scheme("int4"), ERROR, "declared int8, found int4", declared={"scheme": "int8"}),
    Case("QNT102", "quantized behind a float label", _scheme("int8"), ERROR, "weights are int8", declared={"scheme": "none"}),
    Case("QNT102", "as declared", _scheme("int8"), SILENT, declared={"scheme": "int8"}),
    Case("QNT102", "nothing declared", _scheme("int4"), SILENT),
    *ladder("QNT103", "max_ratio", _bits, at_least=False, step=1e-6, says="bits on average"),
    Case("QNT103", "its own reference",
         (measured("quant.bits", 8.0, _MODEL), measured("quant.reference_bits", 8.0, _MODEL)), ERROR,
         "the reference is a quantized model itself"),
    Case("QNT103", "exchanged with a half-precision model",
         (measured("quant.bits", 16.0, _MODEL), measured("quant.reference_bits", 8.0, _MODEL)), ERROR,
         "the two may be exchanged"),
    Case("QNT103", "two float models", _bits(1.0), SILENT, declared={"scheme": "none"}),
    *ladder("QNT105", "min_share", _activations, at_least=True, step=0.01, says="take integer activations", at="file model",
            declared=_INT8),
    Case("QNT105", "weights alone", _activations(0.0), weight_of("QNT105"), "only weights are int8", declared=_INT8),
    Case("QNT105", "weights alone, and nothing declared", _activations(0.0), SILENT),
    Case("QNT105", "a float model", (), SILENT, declared=_INT8),
    Case("QNT104", "weights that are the reference's", (measured("quant.untouched", 2, _MODEL, tensors=["a", "b"]),), ERROR,
         "the conversion did nothing: all 2 weights are the reference's to the bit", at="file model"),
    Case("QNT104", "two float models", (measured("quant.untouched", 2, _MODEL, tensors=["a", "b"]),), SILENT,
         declared={"scheme": "none"}),
    Case("QNT104", "nothing of the kind", (), SILENT),
    Case("QNT103", "reference without weights", (measured("quant.bits", 32, _MODEL),), SILENT),
)  # fmt: skip
