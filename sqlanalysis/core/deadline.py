"""A limit on the seconds that the process works: when they are over, it is as if Ctrl-C had been pressed."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable
from types import FrameType

_over = threading.Event()


def set_limit(seconds: float, stop: Callable[[], None]) -> None:
    """Call `stop` and interrupt the main thread after so many seconds; what reacts to Ctrl-C reacts to this."""

    def expire(_signal: int = 0, frame: FrameType | None = None) -> None:
        # Not by the signal of Ctrl-C itself, which a process in the background may ignore.
        _over.set()
        try:
            stop()
        finally:  # the limit holds even where `stop` fails
            handler = signal.getsignal(signal.SIGINT)
            if not callable(handler):
                raise KeyboardInterrupt
            handler(signal.SIGINT, frame)

    def expire_there() -> None:
        _over.set()
        try:
            stop()
        finally:
            _thread.interrupt_main()

    if not hasattr(signal, "setitimer"):  # Windows
        timer = threading.Timer(seconds, expire_there)
        timer.daemon = True
        timer.start()
        return
    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def clear() -> None:
    """Take the limit away."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    _over.clear()


def is_over() -> bool:
    """Whether the limit was reached."""
    return _over.is_set()
