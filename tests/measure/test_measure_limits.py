"""Whatever the child does, the parent has an error of one line and no survivor."""

import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import numpy as np
import pytest

from qgate.errors import DataError, MeasureError
from qgate.measure.pair import Limits, PairRequest, Tap, measure_pair
from qgate.sandbox.confine import NOBODY
from qgate.sandbox.launch import waiting_child

FOREVER = 2**60


def children():
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def failure(request, progress=None):
    with pytest.raises(MeasureError) as caught:
        measure_pair(request, progress)
    error = caught.value
    assert error.what and error.where and error.remedy
    assert "\n" not in str(error) and "Traceback" not in str(error)
    assert children() == []
    return error


@pytest.fixture
def endless(loop, data):
    """The first sample ends at once, the second never does."""
    return {"candidate": loop, "inputs": data(times=np.array([1, FOREVER]))}


def test_the_clock_ends_a_model_that_does_not(loop, data):
    request = PairRequest(
        candidate=loop, inputs=data(times=np.array([FOREVER])), limits=Limits(wall_seconds=3)
    )
    began = time.monotonic()
    assert "took longer than 3 s" in failure(request).what
    assert time.monotonic() - began < 30


def test_processor_time_is_limited(loop, data):
    limits = Limits(cpu_seconds=3, wall_seconds=120)
    request = PairRequest(candidate=loop, inputs=data(times=np.array([FOREVER])), limits=limits)
    assert "more than 3 s of processor time" in failure(request).what


def test_memory_is_limited(model, data):
    bomb = model(
        "bomb", "g (int64[N] n) => (float s) {y = ConstantOfShape(n) s = ReduceSum<keepdims = 0>(y)}"
    )
    request = PairRequest(
        candidate=bomb, inputs=data(n=np.array([2**34])), limits=Limits(memory_mb=4096, wall_seconds=120)
    )
    assert "more than the memory limit of 4096 MiB" in failure(request).what


def test_too_little_memory_even_to_start_is_an_error(digits):
    request = PairRequest(
        candidate=digits / "digits_fp32.onnx", limits=Limits(memory_mb=100, wall_seconds=120)
    )
    assert "memory limit of 100 MiB" in failure(request).what


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_names_its_signal(endless, number):
    def kill(done, total):
        os.kill(children()[0], number)

    error = failure(PairRequest(**endless, limits=Limits(wall_seconds=120)), kill)
    assert f"crashed with signal {int(number)} ({number.name})" in error.what
    assert error.remedy.startswith("Run the model in its runtime, without qgate, to see the cause; ")


def test_an_interrupt_leaves_no_child(endless):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_pair(PairRequest(**endless), interrupt)
    assert children() == []


def test_the_child_has_no_environment_no_privileges_and_dies_with_its_parent(endless):
    script = f"""
import os, sys
from pathlib import Path
from qgate.measure.pair import Limits, PairRequest, Tap, measure_pair
def show(done, total):
    task = next(Path("/proc/self/task").iterdir())
    pid = int((task / "children").read_text().split()[0])
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{{pid}}/status").read_text().splitlines())
    print(pid, len(Path(f"/proc/{{pid}}/environ").read_bytes()), fields["Uid"].split()[1],
          fields.get("NoNewPrivs", " 1").strip(), fields["CapEff"].strip(), os.getsid(pid) == pid, flush=True)
candidate, inputs = Path({str(endless["candidate"])!r}), Path({str(endless["inputs"])!r})
measure_pair(PairRequest(candidate=candidate, inputs=inputs), show)
"""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", script],
        stdout=subprocess.PIPE,
        env={"GITHUB_TOKEN": "secret"},
        text=True,
    ) as parent:
        pid, environment, user, privileges, capabilities, leader = parent.stdout.readline().split()
        handle = os.pidfd_open(int(pid))
        parent.kill()
    assert (environment, privileges, leader) == ("0", "1", "True")
    if os.geteuid() == 0:
        assert (int(user), int(capabilities, 16)) == (NOBODY, 0)
    os.set_blocking(handle, True)
    import select

    ended, _, _ = select.select([handle], [], [], 30)
    os.close(handle)
    assert ended, "the child outlives its parent"


def test_an_interpreter_that_does_not_know_qgate_is_said(digits, stage):
    venv.create(stage / "venv", with_pip=False, symlinks=True)
    script = (
        "from pathlib import Path\nfrom qgate.errors import MeasureError\n"
        "from qgate.measure.pair import PairRequest, measure_pair\n"
        f"try: measure_pair(PairRequest(candidate=Path({str(digits / 'digits_fp32.onnx')!r})))\n"
        "except MeasureError as error: print(error)"
    )
    known = os.pathsep.join(path for path in sys.path if path)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [str(stage / "venv/bin/python"), "-c", script],
        env={"PYTHONPATH": root + os.pathsep + known},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "cannot import qgate" in done.stdout, done.stderr
    assert "Install qgate into this interpreter" in done.stdout


def test_what_onnxruntime_refuses_is_quoted_on_one_line(stage, digits):
    broken = stage / "broken.onnx"
    broken.write_bytes((digits / "digits_fp32.onnx").read_bytes()[:5000])
    error = failure(PairRequest(candidate=broken, candidate_label="models/broken.onnx"))
    assert error.what.startswith("ONNX Runtime refuses the candidate: ")
    assert error.where == "models/broken.onnx"
    assert len(error.what) < 600


def test_a_broken_reference_is_not_blamed_on_the_candidate(stage, digits):
    broken = stage / "broken.onnx"
    broken.write_bytes(b"\x00" * 100)
    error = failure(
        PairRequest(candidate=digits / "digits_fp32.onnx", reference=broken, reference_label="ref")
    )
    assert "refuses the reference" in error.what
    assert error.where == "ref"


def test_a_missing_model_is_said_before_anything_starts(stage):
    assert "the file of the candidate is missing" in failure(PairRequest(candidate=stage / "no.onnx")).what


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs models as another user")
def test_a_file_that_the_child_cannot_read_is_said(stage, digits):
    hidden = stage / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "m.onnx").write_bytes((digits / "digits_fp32.onnx").read_bytes())
    error = failure(PairRequest(candidate=hidden / "m.onnx"))
    assert "cannot read it" in error.what
    assert str(hidden) in error.where
    with pytest.raises(DataError, match="cannot read it"):
        measure_pair(PairRequest(candidate=digits / "digits_fp32.onnx", inputs=hidden / "m.onnx"))


def test_a_child_that_waited_measures_the_same_and_none_is_left(digits):
    limits = Limits(wall_seconds=120)
    taps = tuple(Tap(f"no such tensor {number}", -1.0, 1.0, "scale", None) for number in range(3000))
    request = PairRequest(candidate=digits / "digits_fp32.onnx", samples=2, limits=limits, taps=taps)
    assert len(request.to_json()) > 2 * 65536, "more than a pipe holds"
    with waiting_child(limits) as child:
        assert children() == [child.process.pid]
        waited = measure_pair(request, child=child)
        assert child.status == 0
    assert children() == []
    assert waited.measurements == measure_pair(request).measurements


def test_a_child_with_other_limits_is_not_used(digits):
    with waiting_child(Limits()) as child:
        measure_pair(
            PairRequest(candidate=digits / "digits_fp32.onnx", samples=1, limits=Limits(cpu_seconds=60)),
            child=child,
        )
        assert child.status is None
    assert child.status is not None
    assert children() == []


def test_a_child_that_waits_dies_with_its_parent():
    script = (
        "import time\nfrom qgate.sandbox.launch import waiting_child\nfrom qgate.sandbox.limits import Limits\n"
        "with waiting_child(Limits()) as child:\n    print(child.process.pid, flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        handle = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    import select

    ended, _, _ = select.select([handle], [], [], 60)
    os.close(handle)
    assert ended, "the child outlives its parent"
