"""Event stream messages and signatures, compared with botocore, AWS's own library.

Usage: check.py [PATH OF THE BUILT EXAMPLE aws_frames]; needs botocore. Exits 1 where one differs.
"""

import base64
import binascii
import datetime
import itertools
import json
import random
import struct
import subprocess
import sys

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "target/debug/examples/aws_frames"
OURS = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
RANDOM = random.Random(4)
passed = failed = 0


def ask(**command):
    OURS.stdin.write(json.dumps(command) + "\n")
    OURS.stdin.flush()
    line = OURS.stdout.readline()
    if not line:
        sys.exit(f"{PROGRAM} ended at {command}")
    return json.loads(line)


def check(name, got, expected):
    global passed, failed
    if got == expected:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {name}\n  got      {got!r}\n  expected {expected!r}")


def b64(data):
    return base64.b64encode(data).decode()


def theirs(body, chunk):
    """What botocore reads from a body that arrives in chunks: (headers, payload) of each message."""
    buffer, events = EventStreamBuffer(), []
    for start in range(0, len(body), chunk):
        buffer.add_data(body[start : start + chunk])
        events += [(dict(event.headers), event.payload) for event in buffer]
    return events


# --------------------------------------------------------------------------------------------- what we write, they read

PAYLOADS = [b"", b"{}", '{"text":"é🌍"}'.encode(), RANDOM.randbytes(70_000)]


def check_encoder():
    body, expected = b"", []
    for payload, exception in itertools.product(PAYLOADS, [False, True]):
        name = "throttlingException" if exception else "contentBlockDelta"
        message = base64.b64decode(ask(do="encode", event=name, payload=b64(payload), exception=exception)["body"])
        headers = {
            ":exception-type" if exception else ":event-type": name,
            ":content-type": "application/json",
            ":message-type": "exception" if exception else "event",
        }
        check(f"encode {name} {len(payload)}", theirs(message, len(message)), [(headers, payload)])
        body += message
        expected.append((headers, payload))
    for chunk in [1, 7, 4096, len(body)]:
        check(f"a body of ours in chunks of {chunk}", theirs(body, chunk), expected)


# Name, type, value, and the value's bytes in a message.
HEADERS = [
    ("true", "bool", True, b"\0"),
    ("false", "bool", False, b"\1"),
    ("byte", "byte", -7, b"\2" + struct.pack("!b", -7)),
    ("short", "short", -300, b"\3" + struct.pack("!h", -300)),
    ("int", "int", 1 << 30, b"\4" + struct.pack("!i", 1 << 30)),
    ("long", "long", -(1 << 62), b"\5" + struct.pack("!q", -(1 << 62))),
    ("bytes", "bytes", b"\0\xff", b"\6\0\2\0\xff"),
    ("string", "string", "é", b"\7\0\2" + "é".encode()),
    ("timestamp", "timestamp", 1_700_000_000_123, b"\x08" + struct.pack("!q", 1_700_000_000_123)),
    ("uuid", "uuid", b"0123456789abcdef", b"\x09" + b"0123456789abcdef"),
    ("n" * 255, "string", "s" * 65_535, b"\7\xff\xff" + b"s" * 65_535),
]


def as_json(value):
    return {"base64": b64(value)} if isinstance(value, bytes) else value


def check_headers():
    for name, kind, value, raw in HEADERS:
        asked = [[name, kind, as_json(value)]]
        message = base64.b64decode(ask(do="encode_message", headers=asked, payload=b64(b"x"))["body"])
        check(f"header {kind}, written by us", theirs(message, 1000), [({name: value}, b"x")])
        built = build(header(name, raw), b"x")
        check(f"header {kind}, the bytes", message, built)
        read = ask(do="parse", body=b64(built))
        check(f"header {kind}, read by us", read, {"headers": [[name, as_json(value)]], "payload": b64(b"x")})


# --------------------------------------------------------------------------------------------- what they write, we read


def header(name, raw):
    return bytes([len(name)]) + name.encode() + raw


def text(value):
    return b"\7" + struct.pack("!H", len(value)) + value


def build(headers, payload):
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", binascii.crc32(message))


def check_decoder():
    body, expected = b"", []
    for kind, name in [("event", "chunk"), ("exception", "validationException"), ("error", "InternalError")]:
        member = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}[kind]
        for payload in PAYLOADS[1:]:
            headers = header(":message-type", text(kind.encode())) + header("x", b"\0")
            body += build(headers + header(member, text(name.encode())), payload)
            expected.append([name, b64(payload), kind != "event"])
    check("botocore reads what is built here", len(theirs(body, 999)), len(expected))
    for chunk in [1, 13, 4096, len(body)]:
        check(f"decode in chunks of {chunk}", ask(do="decode", body=b64(body), chunk=chunk), {"frames": expected})
    good = build(header(":event-type", text(b"chunk")), b"payload")
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1
        check(f"a bit wrong in byte {at}", "error" in ask(do="decode", body=b64(bytes(bad)), chunk=5), True)
    check("a message cut short", "error" in ask(do="decode", body=b64(good[:-1]), chunk=5), True)


# ----------------------------------------------------------------------------------------------------------- signatures

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
JSON = [["Content-Type", "application/json"]]
PATHS = [
    "/",
    "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke",
    "/model/anthropic.claude-3-haiku-20240307-v1:0/invoke",
    "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123%3Ainference-profile%2Fus.x/converse-stream",
    "/model/a b/converse",
    "/model/a%20b/converse",
    "/a/./b/../c//d/",
    "/~tilde_under-dash.dot/(paren)*star'quote!",
    "/é/ሴ",
    "/%",
]
QUERIES = ["b=2&a=1", "a", "a=&b", "k=2&k=1&k", "x=%3A%2f&y=+", "A=1&a=2&%41=3", "a==b&c=d=e"]
# method, path, query, headers, body, session token, region, service, time
SIGNED = (
    [("POST", path, "", JSON, b'{"a":1}', None, "us-east-1", "bedrock", 1_700_000_000) for path in PATHS]
    + [("GET", "/", query, [], b"", None, "us-east-1", "bedrock", 1_700_000_000) for query in QUERIES]
    + [
        ("POST", "/", "", JSON, b"", "token/+==", "eu-central-1", "bedrock", 951_782_400),
        ("POST", "/", "", JSON, "é🌍".encode(), "t", "us-gov-west-1", "bedrock", 1_735_689_599),
        ("post", "/", "", JSON, RANDOM.randbytes(100_000), None, "ap-southeast-2", "sagemaker", 4_102_444_800),
        ("PUT", "/", "", [["X-Amz-Meta", "  a   b  "], ["Accept", "*/*"]], b"x", None, "us-east-1", "bedrock", 0),
        ("POST", "/", "", [["X-Twice", "b"], ["x-twice", "a"]], b"x", None, "us-east-1", "bedrock", 1),
        ("POST", "/", "", [["x-amz-content-sha256", "UNSIGNED-PAYLOAD"]], b"x", None, "us-east-1", "bedrock", 1),
        ("POST", "/", "", [["Host", HOST + ":8443"]], b"x", None, "us-east-1", "bedrock", 1),
        ("POST", "/", "", [["X-Amz-Date", "19990101T000000Z"], ["Authorization", "x"]], b"x", "t", "a", "b", 1),
    ]
)


def check_signatures():
    access, secret = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    for method, path, query, headers, body, token, region, service, time in SIGNED:
        request = AWSRequest(method, f"https://{HOST}{path}" + (f"?{query}" if query else ""), data=body)
        for name, value in headers:
            request.headers.add_header(name, value)
        now = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
        botocore.auth.get_current_datetime = lambda *args, **kwargs: now
        botocore.auth.SigV4Auth(Credentials(access, secret, token), service, region).add_auth(request)
        names = ["authorization", "x-amz-date", "x-amz-security-token"]
        expected = {name: request.headers[name] for name in names if request.headers[name] is not None}
        if not any(name.lower() == "host" for name, _ in headers):
            headers = [["host", HOST], *headers]
        got = ask(
            do="sign", method=method, path=path, query=query, headers=headers, body=b64(body), access_key=access,
            secret_key=secret, session_token=token, region=region, service=service, time=time,
        )
        check(f"sign {method} {path}?{query} {headers}", got, expected)


check_encoder()
check_headers()
check_decoder()
check_signatures()
OURS.stdin.close()
OURS.wait()
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed or not passed else 0)
