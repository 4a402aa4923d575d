"""A browser without a window, driven over the DevTools protocol on a pipe."""

from __future__ import annotations

import base64
from contextlib import suppress
import json
import os
from pathlib import Path
import select
import shutil
import signal
import subprocess
import time
from typing import Any

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')

_SECONDS = 30.0


class Browser:
    """Opens pages from the disk, and keeps what they say on the console and load."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        command_read, self._write = os.pipe()
        self._read, answer_write = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        self._process = subprocess.Popen(
            ['bash', '-c', f'exec "$@" 3<&{command_read} 4>&{answer_write}', 'browser', CHROMIUM,
             '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run',
             '--disable-dev-shm-usage', '--window-size=1280,900',
             '--disable-background-networking', f'--user-data-dir={profile}',
             '--remote-debugging-pipe', 'about:blank'],
            pass_fds=(command_read, answer_write), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(command_read)
        os.close(answer_write)
        self._buffer = b''
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call('Target.attachToTarget', targetId=target,
                                  flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')

    def __enter__(self) -> Browser:
        """Return the browser."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the browser and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message: dict[str, Any] = {'id': self._number, 'method': method, 'params': parameters}
        if self._session is not None:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._next()
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer['error']
                return answer['result']

    def open(self, page: Path) -> None:
        """Load a page from the disk and wait until it is there."""
        self.complaints.clear()
        self.requests.clear()
        self.call('Page.navigate', url=page.resolve().as_uri())
        self.wait_for('document.readyState === "complete"')

    def evaluate(self, expression: str) -> Any:
        """Return the value of JavaScript in the page."""
        answer = self.call('Runtime.evaluate', expression=expression, returnByValue=True)
        assert 'exceptionDetails' not in answer, answer['exceptionDetails']
        return answer['result'].get('value')

    def wait_for(self, condition: str) -> None:
        """Wait until JavaScript is true."""
        end = time.monotonic() + _SECONDS
        while not self.evaluate(condition):
            assert time.monotonic() < end, f'{condition} did not come true'
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click in the middle of the first element of a CSS selector."""
        place = self.evaluate(
            f'(() => {{ const node = document.querySelector({json.dumps(selector)});'
            ' node.scrollIntoView({block: "center"}); const box = node.getBoundingClientRect();'
            ' return [box.left + box.width / 2, box.top + box.height / 2]; })()')
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=place[0], y=place[1],
                      button='left', clickCount=1)

    def press(self, key: str, code: int) -> None:
        """Press a key by its name and Windows code in what has the focus."""
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, code=key,
                      windowsVirtualKeyCode=code, **({'text': '\r'} if key == 'Enter' else {}))

    def type(self, selector: str, text: str) -> None:
        """Replace the text of a field as a keyboard does."""
        self.evaluate(f'document.querySelector({json.dumps(selector)}).select()')
        self.call('Input.insertText', text=text)

    def screenshot(self, path: Path, height: int = 900) -> None:
        """Write a PNG of the top of the page."""
        self.call('Emulation.setDeviceMetricsOverride', width=1280, height=height,
                  deviceScaleFactor=1, mobile=False)
        picture = self.call('Page.captureScreenshot', format='png')['data']
        path.write_bytes(base64.b64decode(picture))

    def _next(self) -> dict[str, Any]:
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], _SECONDS)
            assert ready, 'the browser does not answer'
            data = os.read(self._read, 1 << 20)
            assert data, 'the browser ended'
            self._buffer += data
        line, self._buffer = self._buffer.split(b'\0', 1)
        message = json.loads(line)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get('params', {})
        if message.get('method') == 'Runtime.consoleAPICalled':
            self.complaints.append(json.dumps(parameters['args']))
        elif message.get('method') == 'Runtime.exceptionThrown':
            self.complaints.append(json.dumps(parameters['exceptionDetails']))
        elif message.get('method') == 'Log.entryAdded':
            self.complaints.append(parameters['entry']['text'])
        elif message.get('method') == 'Network.requestWillBeSent':
            self.requests.append(parameters['request']['url'][:100])
