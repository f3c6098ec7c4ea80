"""An upstream on 127.0.0.1:8080 that says back what it is asked, and a name server that knows it as upstream.test."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        content = "upstream says: " + asked["messages"][-1]["content"]
        body = json.dumps({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def answer(query):
    """127.0.0.1 for a question of type A about upstream.test, no record for any other type, NXDOMAIN for other names."""
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    known = question[:-4].lower() == b"\x08upstream\x04test\0"
    address = known and question[-4:-2] == b"\0\x01"
    flags = b"\x81\x80" if known else b"\x81\x83"
    head = query[:2] + flags + b"\0\x01" + (b"\0\x01" if address else b"\0\0") + b"\0\0\0\0"
    return head + question + (b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01" if address else b"")


def name_server():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 53))
        while True:
            query, client = s.recvfrom(512)
            s.sendto(answer(query), client)


threading.Thread(target=name_server, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", 8080), Upstream).serve_forever()
