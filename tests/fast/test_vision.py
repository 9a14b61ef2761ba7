"""The door to torchvision: it opens, opens again, and lets other errors through."""

import builtins
import subprocess
import sys

import pytest

from dntk_fast.workflow import vision


def test_door_opens_in_a_fresh_process_and_twice_to_the_same_room():
    code = (
        "from dntk_fast.workflow.vision import import_torchvision as door; first = door(); second = door();"
        "assert first is second and first.models.resnet18().fc.out_features == 1000;"
        "import torchvision; assert torchvision is first"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.fixture
def import_raises(monkeypatch):
    """Let `import torchvision` raise what the test names, a given number of times."""
    plain = builtins.__import__

    def install(error, times=1):
        left = [times]

        def fake(name, *args, **kwargs):
            if name == "torchvision" and left[0]:
                left[0] -= 1
                raise error
            return plain(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", fake)

    return install


def test_absent_package_is_named_in_one_line(import_raises):
    import_raises(ModuleNotFoundError("No module named 'torchvision'"))
    with pytest.raises(ImportError, match=r"^torchvision: expected the package to be installed \(pip install"):
        vision.import_torchvision()


def test_other_errors_pass_through(import_raises):
    import_raises(RuntimeError("the disk is on fire"))
    with pytest.raises(RuntimeError, match="disk is on fire"):
        vision.import_torchvision()
