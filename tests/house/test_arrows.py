"""Who may import whom, and what may stand where: the rules of the house, run on every test."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import imported_modules

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("dntk_ref", "dntk_fast", "proofs_checks")


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def late_imports_of_ours(source):
    return [
        name
        for name, inside in imported_modules(ast.parse(source))
        if inside and name.lstrip(".").split(".")[0] in PACKAGES
    ]


def bare_torchvision(source):
    return [name for name, _ in imported_modules(ast.parse(source)) if name.split(".")[0] == "torchvision"]


def lint_imports(config=None, cwd=ROOT):
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(
        [*command, *(["--config", str(config)] if config else [])], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_arrows_point_one_way():
    result = lint_imports()
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "arrow",
    [
        "dntk_ref -> torch",
        "dntk_ref -> dntk_fast",
        "dntk_fast -> dntk_ref",
        "proofs_checks -> dntk_fast",
        "dntk_fast.kernels.ridge -> dntk_fast.workflow.pipeline",
        "dntk_fast.tangent.layers -> dntk_fast.tangent.kernel",
    ],
)
def test_a_wrong_arrow_is_seen(tmp_path, arrow):
    """The broken twin: a copy of the packages with one forbidden import must be refused by the same contracts."""
    start, end = arrow.split(" -> ")
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        for path in sources(name):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
    module = tmp_path / (start.replace(".", "/") + ".py")
    module = module if module.exists() else tmp_path / start / "__init__.py"
    module.write_text(module.read_text() + f"\nimport {end}\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert lint_imports(cwd=tmp_path).returncode == 1


def test_no_import_of_our_own_modules_inside_a_function():
    late = {str(path.relative_to(ROOT)): late_imports_of_ours(path.read_text()) for path in sources(*PACKAGES)}
    assert not {path: names for path, names in late.items() if names}
    assert late_imports_of_ours("def f():\n    from dntk_fast.kernels.ridge import x\n") == ["dntk_fast.kernels.ridge"]


def test_torchvision_comes_through_its_one_door():
    allowed = ROOT / "dntk_fast" / "workflow" / "vision.py"
    bare = {
        str(path.relative_to(ROOT)): bare_torchvision(path.read_text())
        for path in sources(*PACKAGES, "asv_benchmarks", "tests")
        if path != allowed
    }
    assert not {path: names for path, names in bare.items() if names}
    assert bare_torchvision("import torchvision.datasets as d\n") == ["torchvision.datasets"]


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_needs_no_network_and_prints_nothing(package):
    """In a fresh process: sockets are cut before the import, and stdout and stderr stay empty."""
    code = (
        "import socket\ndef cut(*a, **k): raise OSError('network at import')\nsocket.socket.connect = cut\n"
        f"socket.create_connection = cut\nimport {package}\n"
        f"for name in getattr({package}, '__all__', ()): getattr({package}, name)"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
