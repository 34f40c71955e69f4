"""What a process holds, and what a pool leaves in its folders and on its server."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Holdings:
    """What one process holds; memory in bytes."""

    descriptors: int
    threads: int
    rss: int
    pss: int
    #: What only this process has: growth that is shared with others does not hide a leak of ours.
    uss: int
    children: int
    zombies: int

    @property
    def counted(self) -> tuple[int, int, int, int]:
        """What must be the same again, memory aside."""
        return self.descriptors, self.threads, self.children, self.zombies

    def __str__(self) -> str:
        megabytes = [f"{each / 1e6:.1f}" for each in (self.rss, self.pss, self.uss)]
        return (
            f"{self.descriptors} descriptors, {self.threads} threads, "
            f"{self.children} children ({self.zombies} zombies), "
            f"RSS {megabytes[0]} PSS {megabytes[1]} USS {megabytes[2]} MB"
        )


def holdings(pid: int) -> Holdings:
    """What the process holds now."""
    process = psutil.Process(pid)
    memory = process.memory_full_info()
    children = process.children()
    zombies = [each for each in children if each.status() == psutil.STATUS_ZOMBIE]
    return Holdings(
        process.num_fds(),
        process.num_threads(),
        memory.rss,
        memory.pss,
        memory.uss,
        len(children),
        len(zombies),
    )


def nurseries_of(supervisor: int) -> list[int]:
    """The pids of its nurseries: of its children, those that lead a session."""
    found: list[int] = []
    for each in psutil.Process(supervisor).children():
        try:
            if os.getsid(each.pid) == each.pid and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def files_below(*folders: Path) -> set[str]:
    """Everything in these folders, sockets included."""
    return {str(file) for folder in folders for file in folder.rglob("*")}
