"""An upstream that answers as OpenAI does, in pieces."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HELLO = ["Hé", "llo, 日本", "語 🌍", "\nworld."]
ARGUMENTS = ['{"ci', 'ty": "Zü', 'rich"}']
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/v1/embeddings":
            data = [{"object": "embedding", "index": i, "embedding": [0.5, -0.25, i]} for i in range(len(body["input"]))]
            usage = {"prompt_tokens": 2, "total_tokens": 2}
            return self.whole({"object": "list", "data": data, "model": body["model"], "usage": usage})
        user = body["messages"][-1]["content"]
        if user == "too much":
            error = {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
            return self.whole({"error": error}, 429)
        tool = "tools" in body
        if body.get("stream"):
            return self.stream(deltas(tool), "tool_calls" if tool else "stop")
        message = {"role": "assistant", "content": None if tool else "".join(HELLO), "refusal": None}
        if tool:
            message["tool_calls"] = [{**call(), "function": {"name": "get_weather", "arguments": "".join(ARGUMENTS)}}]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if tool else "stop"}
        self.whole({**head("chat.completion"), "choices": [choice], "usage": USAGE})

    def whole(self, answer, status=200):
        body = json.dumps(answer, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, deltas, finish):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for delta in deltas:
            self.event([{"index": 0, "delta": delta, "finish_reason": None}])
        self.event([{"index": 0, "delta": {}, "finish_reason": finish}])
        self.event([], usage=USAGE)
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, choices, **more):
        chunk = {**head("chat.completion.chunk"), "choices": choices, **more}
        self.chunk(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode())

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def head(kind):
    return {"id": "chatcmpl-vcr1", "object": kind, "created": 1_760_000_000, "model": "gpt-4o-2024-08-06"}


def call():
    return {"id": "call_vcr1", "type": "function"}


def deltas(tool):
    yield {"role": "assistant", "content": None if tool else ""}
    if tool:
        yield {"tool_calls": [{"index": 0, **call(), "function": {"name": "get_weather", "arguments": ""}}]}
        for piece in ARGUMENTS:
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    else:
        for piece in HELLO:
            yield {"content": piece}


def start():
    """The URL of an upstream that runs until this process ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
