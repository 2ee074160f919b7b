"""Ends at any moment: what strace saw a run write and sync, and the files as an end there would leave them.

After a power cut only what was synced is sure to be there. Of what was written later anything may be there: any pages of
the writes inside a file, any part of what was appended, and a removed file may be back. After a kill everything is
there, and part of the write that it interrupted.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

STRACE = shutil.which("strace")
CAN_TRACE = (
    bool(STRACE) and not subprocess.run([str(STRACE), "-o", "/dev/null", "true"], capture_output=True).returncode
)
CALLS = "write,pwrite64,fsync,fdatasync,ftruncate,unlink,openat"
CALL = re.compile(r"\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*)\) += (-?\d+)", re.DOTALL)
PAGE = 4096
CUT_SHORT = " <unfinished ...>\n"


@dataclass(frozen=True)
class Event:
    """One change to a file, a sync of it, or output of the child."""

    kind: str
    file: str
    offset: int = 0
    data: bytes = b""


@dataclass
class Disk:
    """A file's bytes as far as they are synced (None when there is no file), and the changes after that."""

    synced: bytes | None
    pending: list[Event] = field(default_factory=list)

    def left(self, kept: Iterable[Event]) -> bytes | None:
        """The bytes when of the changes these are there."""
        content = self.synced
        for event in kept:
            content = _apply(content, event)
        return content

    def after_a_cut(self, chance: random.Random) -> bytes | None:
        """The bytes when of the changes some are there, by chance."""
        kept = []
        for event in self.pending:
            grows = event.kind == "write" and event.offset >= len(self.left(kept) or b"")
            if chance.random() < 0.5:
                kept.append(event)
            elif event.kind == "write" and not grows and chance.random() < 0.5:
                kept += [page for page in pages(event) if chance.random() < 0.5]
            elif grows:  # a file grows in order; the rest of what was appended is not there
                kept.append(Event("write", event.file, event.offset, event.data[: chance.randrange(len(event.data))]))
                break
        return self.left(kept)


def pages(event: Event) -> list[Event]:
    """A write in pieces that are written whole or not at all."""
    starts = range(0, len(event.data), PAGE)
    return [Event("write", event.file, event.offset + at, event.data[at : at + PAGE]) for at in starts]


def _apply(content: bytes | None, event: Event) -> bytes | None:
    before = content or b""
    if event.kind == "remove":
        return None
    if event.kind == "truncate":
        return before[: event.offset].ljust(event.offset, b"\0")
    end = event.offset + len(event.data)
    return before[: event.offset].ljust(event.offset, b"\0") + event.data + before[end:]


def record(child: Path, file: Path, options: str) -> list[Event]:
    """Run the child to its end and give what it did to the file and its log, in order, and what it printed."""
    log, printed = file.with_suffix(".strace"), file.with_suffix(".printed")
    files = [str(file), f"{file}.wal", str(printed)]
    seen = [word for name in files for word in ("-P", name)]
    command = [str(STRACE), "-f", "-y", "-xx", "-s", "16000000", "-e", f"trace={CALLS}", *seen, "-o", str(log)]
    sizes = {str(file): file.stat().st_size}
    with printed.open("w") as stream:
        subprocess.run([*command, sys.executable, str(child), str(file), options], stdout=stream, check=True)
    events: list[Event] = []
    open_calls: dict[str, str] = {}
    with log.open() as lines:
        for line in lines:
            thread = line.split(" ", 1)[0]
            if line.endswith(CUT_SHORT):
                open_calls[thread] = line.removesuffix(CUT_SHORT)
                continue
            if " resumed>" in line:
                line = open_calls.pop(thread) + line.split(" resumed>", 1)[1]
            event = _event(line, sizes)
            if event and event.file == str(printed):
                events.append(Event("printed", event.file, data=event.data))
            elif event and event.file in files:
                events.append(event)
    return events


def _event(line: str, sizes: dict[str, int]) -> Event | None:
    match = CALL.match(line)
    if match is None or int(match[3]) < 0:
        return None
    call, arguments, result = match[1], match[2], int(match[3])
    names = [bytes.fromhex(text.replace("\\x", "")) for text in re.findall(r'[<"]([^">]*)[">]', arguments)]
    if call == "openat":
        name = names[-1].decode()
        if "O_TRUNC" not in arguments:
            return None
        sizes[name] = 0
        return Event("truncate", name)
    name = names[0].decode()
    if call == "unlink":
        sizes[name] = 0
        return Event("remove", name)
    if call in ("fsync", "fdatasync"):
        return Event("sync", name)
    last = int(arguments.rpartition(" ")[2])
    if call == "ftruncate":
        sizes[name] = last
        return Event("truncate", name, last)
    offset = last if call == "pwrite64" else sizes.get(name, 0)
    sizes[name] = max(sizes.get(name, 0), offset + result)
    return Event("write", name, offset, names[1][:result])


def leave(
    events: list[Event], at: int, start: dict[str, bytes], how: str, chance: random.Random
) -> dict[str, bytes | None]:
    """The files when all ends before event `at`.

    How: "cut" leaves what was synced, "cut, some written" some of the rest too, "kill" all of it and half of the event.
    """
    disks = {name: Disk(content) for name, content in start.items()}
    for event in events[:at]:
        if event.kind == "printed":
            continue
        disk = disks.setdefault(event.file, Disk(None))
        if event.kind == "sync":
            disk.synced, disk.pending = disk.left(disk.pending), []
        else:
            disk.pending.append(event)
    if how == "cut":
        return {name: disk.synced for name, disk in disks.items()}
    if how == "cut, some written":
        return {name: disk.after_a_cut(chance) for name, disk in disks.items()}
    for event in events[at : at + 1]:
        if event.kind == "write":
            disks.setdefault(event.file, Disk(None)).pending += pages(event)[: len(pages(event)) // 2]
    return {name: disk.left(disk.pending) for name, disk in disks.items()}
