"""ART: are these the bytes that we think they are, and are they safe to open?"""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Severity, Verdict
from qgate.rules.base import RuleContext, rule


def _operators(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("artifact.operator"):
        yield context.finding(
            str(found.detail["message"]),
            at=found.at,
            evidence={"operator": found.value},
            effect=Verdict.ERROR,
        )


def _demand(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("artifact.demand"):
        yield context.finding(
            str(found.detail["message"]),
            at=found.at,
            evidence={"asked": found.detail["asked"], "limit": found.detail["limit"]},
            effect=Verdict.ERROR,
        )


def _graph(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("structure.defect"):
        if found.value in ("graph", "nbits"):
            yield context.finding(str(found.detail["message"]), at=found.at, effect=Verdict.ERROR)


def _interface(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("interface.difference"):
        # fp16 converters may change the interface's float type; a caller sees that, a model's meaning does not.
        halved = {found.detail.get("reference"), found.detail.get("candidate")} == {"float", "float16"}
        soft = found.value == "float-type" and context.scheme == "fp16" and halved
        soft |= found.value in ("overridable", "signature-missing")
        # Two exports of one float model differ in which sizes they fix; a quantizer has no reason to fix any.
        soft |= found.value == "fixed" and context.declared.get("scheme") == "none"
        yield context.finding(
            str(found.detail["message"]),
            at=found.at,
            evidence={k: v for k, v in found.detail.items() if k != "message"},
            severity=Severity.WARNING if soft else None,
        )


def _unconfined(context: RuleContext) -> Iterator[Finding]:
    for step, what in context.declared.get("unconfined", {}).items():
        # Where the policy asks for all of it, a run with less proves nothing, whoever reports it.
        granted = context.declared.get("sandbox") == "reduced"
        yield context.finding(
            f"the models were run without {what}",
            evidence={"step": step},
            severity=None if granted else Severity.ERROR,
            effect=Verdict.ERROR,
        )


def _nonfinite(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("constant.nonfinite"):
        # A mask of -inf is honest; NaN is not, nor is anything but a number in a weight or a bias.
        weight = found.detail["operator"] in ("Conv", "ConvTranspose", "MatMul", "Gemm", "BatchNormalization")
        certain = bool(found.detail["nan"]) or weight
        yield context.finding(
            f"the constant holds {found.number:.0f} values that are no finite numbers",
            at=found.at,
            evidence={"count": found.value, "nan": found.detail["nan"]},
            severity=None if certain else Severity.NOTE,
        )


def _not_run(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("artifact.not_run"):
        # Its last sentence says what to do about this very file; the rule's own would say it again for all.
        fact, _, step = str(found.detail["message"]).rpartition(". ")
        yield context.finding(
            fact or step, at=found.at, effect=Verdict.INCONCLUSIVE, remedy=step if fact else None
        )


def _checksums(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("artifact.checksum"):
        yield context.finding(str(found.detail["message"]), at=found.at, evidence={"members": found.value})


RULES = (
    rule(
        "ART101",
        "The file is there and holds something",
        why="A missing, empty or unreadable candidate has been checked by nobody.",
        how="The locator is resolved and the file is opened before anything else is done.",
        remedy="Commit the model at the path that the policy names",
        pair_remedy="Name a file that is there and holds a model",
    ),
    rule(
        "ART102",
        "The file is the model, not a Git LFS pointer to it",
        why="A pointer of 130 bytes passes every check that only looks at differences.",
        how="The first bytes are compared with the Git LFS pointer specification.",
        remedy="Run `git lfs pull`, or give the action a token",
    ),
    rule(
        "ART103",
        "The file is of a form that this version of qgate verifies",
        why="What cannot be measured cannot be passed.",
        how="The form is recognised by content, whatever the file's name says.",
        remedy="Export the model to ONNX with dense initializers",
    ),
    rule(
        "ART104",
        "The file is whole and is what it claims to be",
        why="A cut or filtered file may still load, with other weights.",
        how="The protobuf wire format is checked to the last byte before a parser sees it.",
        remedy="Commit the file again",
    ),
    rule(
        "ART105",
        "The file is unambiguous and asks for no more than it holds",
        why="Parsers merge a second graph into the first and allocate what a file declares; both are ways to "
        "show a reviewer one model and run another.",
        how="The file is decoded by a table of the format's fields and within a budget: duplicate and unknown fields on "
        "every level, duplicate initializers, nesting, node counts, more parts than the file's size accounts for, "
        "declared elements against bytes present, and functions that recurse, stand for known operators or unfold "
        "without end.",
        remedy="Export the model again; do not merge this file",
    ),
    rule(
        "ART106",
        "Every operator is one that a specification defines",
        why="Custom operators and compiled blobs run code that no reader can look into.",
        how="Each (domain, operator) is looked up in the ONNX specification, in the version that the model imports, "
        "and in the list of ONNX Runtime's contributed operators that quantizers write; subgraphs and the bodies of "
        "the file's own functions, which are put in place of their calls, included. A policy may add to the list with "
        "`allow_ops`.",
        remedy="Export with standard operators, or add the operator to `allow_ops` in the policy",
        pair_remedy="Export with standard operators; only a policy can allow others",
        check=_operators,
    ),
    rule(
        "ART107",
        "External data lies in files beside the model and fits the tensors",
        why="A path out of the model's folder reads the runner's secrets into a tensor.",
        how="Own parsing of location, offset, length and checksum; links, unknown keys, ranges that overlap in part and "
        "names that are one file on some systems are refused.",
        remedy="Save the model again with its data in one file beside it",
    ),
    rule(
        "ART108",
        "The digest is the one that the policy states",
        why="A reference that can be exchanged proves nothing.",
        how="sha256 of the bytes that are then measured.",
        remedy="Update `sha256` in the policy if the change is meant",
    ),
    rule(
        "ART109",
        "The graph is well formed",
        why="A node that reads what nothing makes, or two that make the same tensor, mean different things to "
        "different runtimes.",
        how="Every tensor must be made once, before it is read (ONNX IR specification).",
        remedy="Export the model again",
        check=_graph,
    ),
    rule(
        "ART110",
        "Inputs and outputs are the reference's",
        why="A renamed input or a batch that became fixed breaks the caller; an extra output leaks or hides.",
        how="Names, element types and shapes of both models are compared; `io` in the policy declares intended "
        "differences. The signatures of LiteRT models must give the same inputs and outputs by the same names; a name or a "
        "signature that one of the models lacks is a warning.",
        remedy="Export with the reference's interface, or declare the difference under `io`",
        pair_remedy="Export with the reference's interface, or tell the difference (--io-map, --io-type, --io-shape)",
        check=_interface,
    ),
    rule(
        "ART111",
        "Constants are finite numbers",
        why="QuantizeLinear turns NaN into a number, so a poisoned constant need not show in any output.",
        how="Every float constant is scanned; a mask of -inf outside of weights is a note.",
        remedy="Find the step of the conversion that overflowed",
        check=_nonfinite,
    ),
    rule(
        "ART112",
        "The models run",
        why="A model that no runtime loads has not been verified.",
        how="Both models are run by ONNX Runtime in a child process with limits on memory, time and files.",
        remedy="Run the model locally with the same runtime",
    ),
    rule(
        "ART113",
        "The data fit the models",
        why="Measurements on other inputs than the declared ones say nothing.",
        how="Names, shapes, element types, labels and finiteness of the arrays are checked before the run.",
        remedy="Correct the data set",
    ),
    rule(
        "ART114",
        "The file holds data, and no code",
        why="TorchScript, pickled objects, AOTInductor packages and native libraries run what they hold as soon as "
        "something loads them; a scanner that looks for known bad names misses the others.",
        how="Formats are recognised by content. The opcodes of a checkpoint's pickle are followed without building "
        "anything: each global, call and persistent id must be on a short list and used as PyTorch's writer uses it. "
        "Exported programs must hold no pickles, no objects, no guards and no expression beyond plain arithmetic.",
        remedy="Export the model to ONNX, or save its state_dict alone",
    ),
    rule(
        "ART115",
        "The candidate was read and run beside its reference",
        why="Tensors that follow from the reference's say nothing of the operations that use them.",
        how="PyTorch checkpoints and safetensors files hold tensors and no model: they are run in the module that a "
        "`factory` builds. Exported programs, TorchScript and ExecuTorch programs run code of their own: only under "
        "`trust: code`, and of the latter two the weights are not read. "
        "Without them such files are judged by their tensors, and the verdict is INCONCLUSIVE at best.",
        remedy="Name a `factory`, trust the program, or export both models to ONNX",
        check=_not_run,
    ),
    rule(
        "ART117",
        "The archive's checksums hold",
        why="Bytes that changed after the archive was written were changed by a disk or by a hand, not by PyTorch, which "
        "does not look at the checksums when it loads a file.",
        how="CRC-32 of every member of a PyTorch archive; archives written without checksums are not judged.",
        remedy="Find out what changed the file after it was saved, and save it again",
        severity=("error", "warning", "warning"),
        check=_checksums,
    ),
    rule(
        "ART116",
        "Models run in a sandbox that is whole",
        why="A file that exploits the runtime runs as whoever runs the runtime: it could read secrets, write to the "
        "repository and open connections.",
        how="The child process engages Landlock (it reads the two models and the data, and writes nothing) and seccomp "
        "(no sockets, no processes, no signals) before it opens a model, tries both and says so. What cannot be "
        "engaged is an error, unless the base branch's policy says `sandbox: reduced`.",
        remedy="Run on a Linux kernel from 5.13 on with Landlock enabled",
        severity=("warning", "warning", "warning"),
        check=_unconfined,
    ),
    rule(
        "ART120",
        "A run asks for no more than the limits give",
        why="A file of 76 bytes can ask for 64 GiB and a loop for 2^60 turns; no parser minds.",
        how="Shapes are followed through the graph, constants that are sizes among them, as the ONNX operator "
        "specifications have it, with open sizes as one: the bytes of a node's inputs and outputs, multiplications, "
        "and turns of loops that end by their count alone. What cannot be followed is left to the sandbox's limits.",
        remedy="Export the model again; where it is meant, raise `limits` in the policy",
        pair_remedy="Export the model again; only a policy can raise the limits",
        check=_demand,
    ),
)
