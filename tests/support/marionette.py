"""Firefox without a driver program: its own remote protocol, Marionette, spoken over one socket."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

PATIENCE = 120  # seconds that anything may take before it counts as not happening
COMPLAINTS = """
const [page] = arguments;
const ours = Services.console.getMessageArray().filter(
  (m) => m instanceof Ci.nsIScriptError && m.sourceName.startsWith(page) && !m.category.startsWith("Layout"));
return ours.map(String);
"""


class Firefox:
    """A headless Firefox with a fresh profile. Commands are those of WebDriver, named as Marionette names them."""

    def __init__(self, program: str, folder: Path, width: int = 1240, height: int = 1000) -> None:
        port = _free_port()
        preferences = {
            "marionette.port": port,
            "webgl.disabled": True,
            "app.update.enabled": False,
            "dom.event.coalesce_mouse_move": False,
            "browser.shell.checkDefaultBrowser": False,
            "datareporting.policy.dataSubmissionEnabled": False,
            "network.captive-portal-service.enabled": False,
            "network.connectivity-service.enabled": False,
        }
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in preferences.items()]
        (folder / "user.js").write_text("\n".join(lines))
        flags = [
            "--headless",
            "--marionette",
            "--no-remote",
            "--remote-allow-system-access",
            "--profile",
            str(folder),
            f"--width={width}",
            f"--height={height}",
        ]
        self.page = ""
        self.number = 0
        self.process = subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.socket = _connect(port, self.process)
            self._read()
            self("WebDriver:NewSession", capabilities={})
            self("WebDriver:SetTimeouts", script=PATIENCE * 1000, pageLoad=PATIENCE * 1000)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def __call__(self, command: str, **parameters: Any) -> Any:
        self.number += 1
        message = json.dumps([0, self.number, command, parameters]).encode()
        self.socket.sendall(str(len(message)).encode() + b":" + message)
        _, _, error, result = self._read()
        if error:
            raise RuntimeError(f"{command}: {error['message']}")
        return result

    def _read(self) -> Any:
        length = b""
        while (byte := self._receive(1)) != b":":
            length += byte
        return json.loads(self._receive(int(length)))

    def _receive(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise RuntimeError("Firefox closed the connection")
            data += part
        return data

    def get(self, path: Path) -> None:
        self.page = path.as_uri()
        self("WebDriver:Navigate", url=self.page)

    def run(self, script: str, *values: Any) -> Any:
        return self("WebDriver:ExecuteScript", script=script, args=list(values), newSandbox=False)["value"]

    def complaints(self) -> list[str]:
        """Errors of the page's script and refusals of its policy, since Firefox started.

        The console is the whole browser's: Firefox reports its own failures there too (the more, the busier the
        machine), so the sender decides. What Firefox measures of a page's layout is not a complaint about the page.
        """
        self("Marionette:SetContext", value="chrome")
        found: list[str] = self.run(COMPLAINTS, self.page)
        self("Marionette:SetContext", value="content")
        return found

    def drag(self, element: str, points: list[tuple[int, int]], shift: bool = False) -> None:
        """Press at the first point, measured from the middle of the element, move along the others, release."""
        reference = self("WebDriver:FindElement", using="css selector", value=element)["value"]
        origin = {"element-6066-11e4-a52e-4f735466cecf": next(iter(reference.values()))}
        moves = [{"type": "pointerMove", "duration": 10, "x": x, "y": y, "origin": origin} for x, y in points]
        pointer = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:], {"type": "pointerUp", "button": 0}]
        actions = [{"type": "pointer", "id": "mouse", "actions": pointer}]
        if shift:
            pauses = [{"type": "pause", "duration": 0}] * (len(pointer) - 1)
            keys = [{"type": "keyDown", "value": "\ue008"}, *pauses, {"type": "keyUp", "value": "\ue008"}]
            actions.append({"type": "key", "id": "keys", "actions": keys})
        self("WebDriver:PerformActions", actions=actions)

    def quit(self) -> None:
        """Ask Firefox to end; one that does not is killed."""
        try:
            self("Marionette:Quit", flags=["eForceQuit"])
        except (OSError, RuntimeError):
            self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.socket.close()


def find() -> str | None:
    """The program, when there is one."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _connect(port: int, process: subprocess.Popen[bytes]) -> socket.socket:
    """A socket to a Firefox that has just been started: 40 seconds and more on a busy machine."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"Firefox did not answer (exit status {process.poll()})")
