"""Keep notes in memory: POST adds one, GET gives all. An ordinary program: it knows nothing of channels or enclaves."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NOTES = []


class Notes(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_GET(self):
        """Give all notes."""
        self.answer("".join(f"{note}\n" for note in NOTES))

    def do_POST(self):
        """Add one."""
        NOTES.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.answer(f"{len(NOTES)} kept\n")

    def answer(self, text):
        """Send a text."""
        content = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing: who asks what is nobody's business."""


ThreadingHTTPServer(("127.0.0.1", 8080), Notes).serve_forever()
