"""Firefox without a driver program: its own remote protocol, Marionette, spoken over one socket."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any


class Firefox:
    """A headless Firefox with a fresh profile. Commands are those of WebDriver, named as Marionette names them."""

    def __init__(self, program: str, folder: Path, width: int = 1240, height: int = 1000) -> None:
        port = _free_port()
        preferences = {
            "marionette.port": port,
            "webgl.disabled": True,
            "app.update.enabled": False,
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
        self.process = subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.socket = _connect(port)
        self.number = 0
        self._read()
        self("WebDriver:NewSession", capabilities={})

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
        while (byte := self.socket.recv(1)) != b":":
            length += byte
        data = b""
        while len(data) < int(length):
            data += self.socket.recv(int(length) - len(data))
        return json.loads(data)

    def get(self, path: Path) -> None:
        self("WebDriver:Navigate", url=path.as_uri())

    def run(self, script: str, *values: Any) -> Any:
        return self("WebDriver:ExecuteScript", script=script, args=list(values), newSandbox=False)["value"]

    def messages(self, clear: bool = False) -> list[str]:
        """What stands in the browser's console about pages of files: errors, warnings, refusals of the policy."""
        self("Marionette:SetContext", value="chrome")
        script = "return Services.console.getMessageArray().map(m => String(m)).filter(m => m.includes('file:'))"
        found: list[str] = self.run("Services.console.reset()" if clear else script) or []
        self("Marionette:SetContext", value="content")
        return found

    def drag(self, element: str, points: list[tuple[int, int]], shift: bool = False) -> None:
        """Press at the first point, measured from the middle of the element, move along the others, release."""
        found = self("WebDriver:FindElement", using="css selector", value=element)["value"]
        origin = {"element-6066-11e4-a52e-4f735466cecf": next(iter(found.values()))}
        moves = [{"type": "pointerMove", "duration": 10, "x": x, "y": y, "origin": origin} for x, y in points]
        pointer = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:], {"type": "pointerUp", "button": 0}]
        actions = [{"type": "pointer", "id": "mouse", "actions": pointer}]
        if shift:
            pauses = [{"type": "pause", "duration": 0}] * (len(pointer) - 1)
            keys = [{"type": "keyDown", "value": "\ue008"}, *pauses, {"type": "keyUp", "value": "\ue008"}]
            actions.append({"type": "key", "id": "keys", "actions": keys})
        self("WebDriver:PerformActions", actions=actions)

    def quit(self) -> None:
        try:
            self("Marionette:Quit", flags=["eForceQuit"])
        finally:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.socket.close()


def find() -> str | None:
    """The program, when there is one."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _connect(port: int) -> socket.socket:
    for _ in range(300):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("Firefox did not answer")
