"""Asks through every Python SDK and prints what it holds, a JSON line a check.

Usage: clients.py URL PHASE [RECORDER…], where PHASE is one of the functions below. The environment says where the
server is where URL is `-`.
"""

import json
import sys
import traceback

import sdk_anthropic
import sdk_boto3
import sdk_cohere
import sdk_google
import sdk_ollama
import sdk_openai
from sdk import Sdk

SDKS = [
    *sdk_openai.SDKS, *sdk_anthropic.SDKS, *sdk_google.SDKS, *sdk_cohere.SDKS, *sdk_ollama.SDKS, *sdk_boto3.SDKS,
]
LANGUAGE = "python"


def question(name, topic, stream):
    return f"[{name}{' streamed' if stream else ''}] topic {topic}: go on"


def report(check, ask, **beside):
    """Runs a check and prints its line."""
    try:
        line = ask()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        line = {"failed": f"{type(error).__name__}: {error} ({where.filename.split('/')[-1]}:{where.lineno})"}
    print(json.dumps({"check": check, **line, **beside}), flush=True)


def turns(sdk, asked, topic, stream):
    """One turn, or two where the first ends in tool calls."""
    history = sdk.first(asked)
    held, answer = sdk.turn(history, topic == "tools", stream)
    if topic != "tools":
        return {"held": [held]}
    end, _ = sdk.turn(sdk.after(history, answer, held["calls"]), True, stream)
    return {"held": [held, end]}


def chats(sdk):
    return [(topic, stream) for topic in sdk.kinds if "embed" not in topic for stream in (False, True)]


def label(sdk, topic, stream):
    return f"{LANGUAGE} {sdk.name}: {topic}{', streamed' if stream else ''}"


def ask(sdk):
    """All that the SDK can be asked for, in both modes."""
    for topic, stream in chats(sdk):
        asked = question(f"{LANGUAGE} {sdk.name}", topic, stream)
        report(label(sdk, topic, stream), lambda: turns(sdk, asked, topic, stream), topic=topic, words=sdk.words)
    for topic in sdk.kinds:
        if "embed" in topic:
            texts = [f"{LANGUAGE} {sdk.name} topic {topic}", "another text"]
            report(label(sdk, topic, False), lambda: {"held": [sdk.embed(texts)]}, topic=topic)


def swap(sdk):
    """What was recorded in one mode, asked for in the other."""
    for topic, stream in chats(sdk):
        asked = question(f"{LANGUAGE} {sdk.name}", topic, stream)
        report(label(sdk, topic, stream), lambda: turns(sdk, asked, topic, not stream), topic=topic)


def hand(sdk):
    """What was written by hand."""
    for topic, stream in chats(sdk):
        report(label(sdk, topic, stream), lambda: turns(sdk, f"By hand: {topic}", topic, stream), words=sdk.words)
    if "embed" in sdk.kinds:
        report(label(sdk, "embed", False), lambda: {"held": [sdk.embed(["By hand: a", "By hand: b"])]})


def hurry(sdk):
    """Streams that are hung up on at their terminal event."""
    if type(sdk).hurry is not Sdk.hurry:
        asked = sdk.first(f"[{LANGUAGE} {sdk.name}] hurry")
        report(label(sdk, "hurry", True), lambda: {"held": sdk.hurry(asked)})


def cross(sdk, *recorders):
    """What other SDKs recorded, one check an SDK and topic: everything that is held, by recorder."""
    for topic, stream in chats(sdk):

        def all_recorders():
            held = {}
            for name in recorders:
                asked = question(name, topic, True)
                try:
                    held[name] = sdk.turn(sdk.first(asked), topic == "tools", stream)[0]
                except sdk.raises[404] as error:
                    held[name] = {"status": sdk.status(error)}
            return {"held": held}

        report(label(sdk, topic, stream), all_recorders)


def fails(sdk, topic, status):
    for stream in (False, True):

        def raised():
            try:
                held, _ = sdk.turn(sdk.first(f"[{LANGUAGE} {sdk.name} {stream}] topic {topic}"), False, stream)
            except sdk.raises[status] as error:
                said = {"status": sdk.status(error), "message": str(error), "class": type(error).__name__}
                return {"raised": {**said, "retry_after": sdk.retry_after(error)}}
            return {"failed": f"no exception, but {held}"}

        report(label(sdk, topic, stream), raised)


def limit(sdk):
    """The upstream has enough."""
    fails(sdk, "limit", 429)


def miss(sdk):
    """Nobody knows the answer."""
    fails(sdk, "never recorded", 404)


def strict_miss(sdk):
    """Nobody knows the answer, and the network is forbidden."""
    fails(sdk, "never recorded", 503)


PHASES = {phase.__name__: phase for phase in [ask, swap, hurry, hand, cross, limit, miss, strict_miss]}

if __name__ == "__main__":
    url, phase, *arguments = sys.argv[1:]
    for sdk in SDKS:
        PHASES[phase](sdk(None if url == "-" else url), *arguments)
