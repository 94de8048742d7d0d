"""A headless Chromium, where there is one, that opens pages and says what their script found."""

import functools
import http.server
import json
import shutil
import subprocess
import threading

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives out pages, and takes what their script found."""

    def __init__(self, read, found, *args):
        self.read, self.found = read, found
        super().__init__(*args)

    def do_GET(self):
        content = self.read(self.path)
        if content is None:
            self.send_error(404)
            return
        body, kind = content
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.found.append(json.loads(body))
        threading.Thread(target=self.server.shutdown).start()

    def log_message(self, *args):
        pass


def visit(read, folder):
    """Open `/` and return what its script sends by POST, as JSON.

    Args:
        read: a function from a path to bytes and their content type, or `None` where there is nothing.
        folder: where the browser may write.
    """
    found = []
    handler = functools.partial(Handler, read, found)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
        flags += " --disable-background-networking --disable-component-update"
        command = [BROWSER, *flags.split(), f"--user-data-dir={folder}/profile"]
        browser = subprocess.Popen(
            [*command, f"http://127.0.0.1:{server.server_port}/"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        timer = threading.Timer(120, server.shutdown)
        timer.start()
        try:
            server.serve_forever(poll_interval=0.05)
        finally:
            timer.cancel()
            browser.terminate()
            browser.wait(20)
    assert found, "the page did not answer"
    return found[0]
