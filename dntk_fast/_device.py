"""Where tensors live and how much memory is left there; nothing here chooses a device for anybody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

__all__ = ["available_memory", "default_memory", "readable_bytes"]


def available_memory(device: torch.device | str) -> int:
    """Bytes that are free on a device now: of the GPU, or of the machine's main memory.

    Returns
    -------
    int
        Free bytes; on a system that does not tell, 2^62.

    >>> available_memory("cpu") > 0
    True
    """
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 2**62


def default_memory(device: torch.device | str = "cpu") -> int:
    """An eighth of all memory: of the GPU, or of the machine or of the control group that the process is confined to.

    >>> 2**20 < default_memory() < 2**50
    True
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // 8
    return min([_machine_memory(), *_group_limits()]) // 8


def _machine_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 2**33  # a system that does not tell


def _group_limits() -> Iterator[int]:
    """Limits of the control group and of those that hold it; a group without one says "max"."""
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for line in own:
        _, kind, place = line.split(":", 2)
        root, name = (
            ("/sys/fs/cgroup", "memory.max") if not kind else ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        )
        if kind and "memory" not in kind.split(","):
            continue
        group = Path(root) / place.lstrip("/")
        for folder in [group, *group.parents]:
            try:
                text = (folder / name).read_text(encoding="ascii").strip()
            except OSError:
                continue
            if text.isdigit():
                yield int(text)


def readable_bytes(count: float) -> str:
    """A number of bytes for a message.

    >>> readable_bytes(1536), readable_bytes(9.2e9)
    ('1.5 KiB', '8.6 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
