"""Asks the official OpenAI SDK and prints what it got as JSON, a name and what it got. Usage: client.py URL [CASSETTE]

With a cassette, VCR.py records into it (in JSON where its name ends so), each request and answer.
"""

import contextlib
import json
import sys

import openai
import vcr

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


def streamed(client, user, **more):
    chunks = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": user}], stream=True,
        stream_options={"include_usage": True}, **more,
    )  # fmt: skip
    text, calls, finish, usage = "", {}, None, None
    for chunk in chunks:
        usage = chunk.usage.total_tokens if chunk.usage else usage
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                into = calls.setdefault(call.index, ["", "", ""])
                into[0] += call.id or ""
                into[1] += call.function.name or ""
                into[2] += call.function.arguments or ""
    return [text, list(calls.values()), finish, usage]


def whole(client, user, **more):
    answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": user}], **more)
    choice = answer.choices[0]
    calls = [[c.id, c.function.name, c.function.arguments] for c in choice.message.tool_calls or []]
    return [choice.message.content or "", calls, choice.finish_reason, answer.usage.total_tokens]


def main():
    client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="sk-client-0123456789abcdefghijklmnop", max_retries=0)
    recorder = contextlib.nullcontext()
    if len(sys.argv) > 2:
        serializer = "json" if sys.argv[2].endswith(".json") else "yaml"
        recorder = vcr.VCR(serializer=serializer, record_mode="all").use_cassette(sys.argv[2])
    got = {}
    with recorder:
        got["text, streamed"] = streamed(client, "say hello, streamed")
        got["text, whole"] = whole(client, "say hello, whole")
        got["tool, streamed"] = streamed(client, "the weather, streamed", tools=[TOOL])
        got["tool, whole"] = whole(client, "the weather, whole", tools=[TOOL])
        vectors = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"]).data
        got["embeddings"] = [[round(n, 5) for n in item.embedding] for item in vectors]
        try:
            whole(client, "too much")
        except openai.RateLimitError as error:
            got["a rate limit"] = [error.status_code, error.code, error.body["message"]]
    print(json.dumps(got))


main()
