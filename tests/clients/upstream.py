"""A stand-in for all eight providers: it checks who asks, counts, and answers as the wires do.

Alone: `upstream.py PORT`. The runner starts it in its own process and reads the count.
"""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import wires

CLIENT_KEY = "sk-client-4f1d0c9b7a65"  # what every client is given
AWS_KEY = "AKIAUPSTREAMONLY0001"  # what requests to Bedrock must be signed with


def ROUTE(pattern, wire, stream=None):
    return re.compile(pattern), wire, stream


# Path, wire, and whether it streams where the path says so and not the body.
ROUTES = [
    ROUTE(r"/v1/chat/completions", wires.openai_chat),
    ROUTE(r"/v1/responses", wires.openai_responses),
    ROUTE(r"/v1/embeddings", wires.openai_embeddings),
    ROUTE(r"/openai/deployments/(?P<deployment>[^/]+)/chat/completions", wires.openai_chat),
    ROUTE(r"/openai/deployments/(?P<deployment>[^/]+)/embeddings", wires.openai_embeddings),
    ROUTE(r"/openai/responses", wires.openai_responses),
    ROUTE(r"/v1/messages", wires.anthropic),
    ROUTE(r"/v1/projects/p1/locations/[^/]+/publishers/anthropic/models/(?P<model>[^:]+):rawPredict", wires.anthropic),
    ROUTE(
        r"/v1/projects/p1/locations/[^/]+/publishers/anthropic/models/(?P<model>[^:]+):streamRawPredict",
        wires.anthropic,
        True,
    ),
    ROUTE(r"/model/[^/]+/invoke", wires.bedrock_invoke, False),
    ROUTE(r"/model/[^/]+/invoke-with-response-stream", wires.bedrock_invoke, True),
    ROUTE(r"/model/[^/]+/converse", wires.bedrock_converse, False),
    ROUTE(r"/model/[^/]+/converse-stream", wires.bedrock_converse, True),
    ROUTE(r"/v1(beta1?)?/(.*publishers/google/)?models/(?P<model>[^:]+):generateContent", wires.gemini, False),
    ROUTE(r"/v1(beta1?)?/(.*publishers/google/)?models/(?P<model>[^:]+):streamGenerateContent", wires.gemini, True),
    ROUTE(r"/v1(beta)?/models/[^:]+:batchEmbedContents", wires.gemini_embeddings),
    ROUTE(r"/v1beta1/projects/p1/locations/[^/]+/publishers/google/models/[^:]+:predict", wires.vertex_predict),
    ROUTE(r"/api/chat", wires.ollama_chat),
    ROUTE(r"/api/generate", wires.ollama_generate),
    ROUTE(r"/api/embed", wires.ollama_embed),
    ROUTE(r"/api/embeddings", wires.ollama_embeddings),
    ROUTE(r"/v2/chat", wires.cohere_v2),
    ROUTE(r"/v1/chat", wires.cohere_v1),
    ROUTE(r"/v[12]/embed", wires.cohere_embed),
]

# The error of each provider for too many requests.
TOO_MANY = "Too many requests, says the upstream"


def too_many(path):
    if path.startswith("/model/"):
        return {"message": TOO_MANY}, {"x-amzn-ErrorType": "ThrottlingException:http://internal.amazon.com/coral/"}
    if path.startswith("/v1/messages") or "/anthropic/" in path:
        return {"type": "error", "error": {"type": "rate_limit_error", "message": TOO_MANY}}, {}
    if "models/" in path:
        return {"error": {"code": 429, "message": TOO_MANY, "status": "RESOURCE_EXHAUSTED"}}, {}
    if path.startswith("/api/"):
        return {"error": TOO_MANY}, {}
    if path in ("/v2/chat", "/v1/chat", "/v2/embed", "/v1/embed"):
        return {"message": TOO_MANY}, {}
    return {"error": {"message": TOO_MANY, "type": "requests", "param": None, "code": "rate_limit_exceeded"}}, {}


def topic_of(body):
    """What is asked for: after a tool's result, the end of the story."""
    text = json.dumps(body)
    if "It is 21 degrees" in text:
        return "after"
    return next((topic for topic in ["tools", "think"] if f"topic {topic}" in text), "text")


def authorised(path, headers):
    if path.startswith("/model/"):
        return f"Credential={AWS_KEY}/" in headers.get("authorization", "")
    if path.startswith("/api/"):
        return True  # Ollama knows no keys
    names = ["authorization", "api-key", "x-api-key", "x-goog-api-key"]
    return any(headers.get(name, "").removeprefix("Bearer ") == CLIENT_KEY for name in names)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers in one write; chunks are flushed one by one

    def do_POST(self):
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        with self.server.lock:
            self.server.calls += 1
            n = self.server.calls
        self.server.paths.add(self.path)
        self.send(self.answer(unquote(urlsplit(self.path).path), json.loads(data), n), n)

    def answer(self, path, body, n):
        if not authorised(path, self.headers):
            error = {"error": {"message": "the upstream does not know this key"}}
            return wires.Sent([json.dumps(error).encode()], status=401)
        if "topic limit" in json.dumps(body):
            error, headers = too_many(path)
            return wires.Sent([json.dumps(error).encode()], headers={"retry-after": "7", **headers}, status=429)
        for pattern, wire, stream in ROUTES:
            found = pattern.fullmatch(path)
            if found:
                named = found.groupdict()
                body.setdefault("model", named.get("deployment")) if "deployment" in named else None
                model = {"model": named["model"]} if "model" in named else {}
                if stream is None:
                    stream = body.get("stream", path in ("/api/chat", "/api/generate"))
                return wire(topic_of(body), body, bool(stream), n, **model)
        print(f"upstream: unknown path {self.path}", file=sys.stderr)
        return wires.Sent([b'{"error":{"message":"no such path"}}'], status=404)

    def send(self, sent, n):
        self.send_response(sent.status)
        self.send_header("Content-Type", sent.content_type)
        for name, value in {"x-request-id": f"req_{n:06}", **sent.headers}.items():
            self.send_header(name, value)
        if len(sent.chunks) == 1:
            self.send_header("Content-Length", str(len(sent.chunks[0])))
            self.end_headers()
            self.wfile.write(sent.chunks[0])
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in sent.chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


class Upstream(ThreadingHTTPServer):
    """Listens on a port of its own; `calls` is how often it was asked."""

    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.calls, self.paths, self.lock = 0, set(), threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self.shutdown()
        self.server_close()


if __name__ == "__main__":
    upstream = Upstream(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(f"upstream listening on {upstream.url}", flush=True)
    upstream.serve_forever()
