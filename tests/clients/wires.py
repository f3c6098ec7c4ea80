"""What each provider sends, written by hand after its documentation: nothing here knows of aimock.

A wire is a function (topic, body, stream, n) -> Sent. `topic` says what is asked for, `n` differs in every call, so an
answer that was made twice is seen to be another one.
"""

import base64
import binascii
import json
import struct
from dataclasses import dataclass, field

TEXT = ["Grüße", ", ", '"Welt" ', "🌍", "!\n", "Line two \\ with a tab\t."]
PLAN = ["I look ", "at the weather."]
CALLS = [
    ("get_weather", {"city": "Paris", "days": 2}),
    ("get_weather", {"city": 'Köln "Dom"', "days": 1, "more": {"list": [1, 2.5, None, True], "empty": {}}}),
]
AFTER = ["It is sunny ", "in both."]
THOUGHT = ["First I count: ", "1, 2, 3.\n", "Then I stop."]
SIGNATURE = "EqQBCkgIARABGAIiQL8m/0w+dGhvdWdodA=="
VECTORS = [[0.0123, -0.5, 1.0, 1e-05], [0.25, 0.125, -0.0625, 0.75]]
NOW = 1_760_000_000
ISO = "2025-10-09T08:53:20.123456789Z"


@dataclass
class Sent:
    """An answer: one chunk of the body at a time."""

    chunks: list
    content_type: str = "application/json"
    headers: dict = field(default_factory=dict)
    status: int = 200


def dumps(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def whole(value, **headers):
    return Sent([dumps(value).encode()], headers={k.replace("_", "-"): v for k, v in headers.items()})


def sse(events, named=False, end="\n", done=False, content_type="text/event-stream; charset=utf-8"):
    """Events as server-sent events; `named` repeats each one's `type` in an `event:` line."""
    chunks = [
        ((f"event: {event['type']}{end}" if named else "") + f"data: {dumps(event)}{end}{end}").encode()
        for event in events
    ]
    return Sent(chunks + ([b"data: [DONE]\n\n"] if done else []), content_type)


def lines(values, content_type):
    return Sent([dumps(value).encode() + b"\n" for value in values], content_type)


def parts_of(topic):
    """What a turn is made of: (thought, text, calls)."""
    return {
        "text": ([], TEXT, []),
        "think": (THOUGHT, TEXT, []),
        "tools": ([], PLAN, CALLS),
        "after": ([], AFTER, []),
    }[topic]


def cut(text, size=7):
    return [text[at : at + size] for at in range(0, len(text), size)]


# -------------------------------------------------------------------------------------------------------------- OpenAI


def openai_chat(topic, body, stream, n):
    thought, text, calls = parts_of(topic)
    finish = "tool_calls" if calls else "stop"
    usage = {
        "prompt_tokens": 19, "completion_tokens": 10 + n, "total_tokens": 29 + n,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
    }
    ids = [f"call_{n:03}{at}wXyZ" for at in range(len(calls))]
    head = {"id": f"chatcmpl-B{n:05}", "created": NOW + n, "model": f"{body.get('model', 'gpt-4o')}-2024-08-06"}
    head |= {"service_tier": "default", "system_fingerprint": f"fp_{n:08x}"}
    reasoning = {"reasoning_content": "".join(thought)} if thought else {}
    if not stream:
        message = {"role": "assistant", "content": "".join(text), "refusal": None, "annotations": [], **reasoning}
        if calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": dumps(arguments)}}
                for id, (name, arguments) in zip(ids, calls)
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return whole({"object": "chat.completion", **head, "choices": [choice], "usage": usage})

    counted = (body.get("stream_options") or {}).get("include_usage")

    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        nothing_yet = {"usage": None} if counted else {}
        return {"object": "chat.completion.chunk", **head, "choices": [choice], **nothing_yet, "obfuscation": "aB3"}

    events = [chunk({"role": "assistant", "content": "", "refusal": None})]
    events += [chunk({"reasoning_content": piece}) for piece in thought]
    events += [chunk({"content": piece}) for piece in text]
    for index, (id, (name, arguments)) in enumerate(zip(ids, calls)):
        start = {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        events.append(chunk({"tool_calls": [start]}))
        events += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            for piece in cut(dumps(arguments))
        ]
    events.append(chunk({}, finish))
    if counted:
        events.append({"object": "chat.completion.chunk", **head, "choices": [], "usage": usage, "obfuscation": "x"})
    return sse(events, done=True)


def openai_responses(topic, body, stream, n):
    thought, text, calls = parts_of(topic)
    items, steps = [], []

    def step(kind, **members):
        steps.append({"type": f"response.{kind}", **members})

    if thought:
        at, id, summary = 0, f"rs_{n:05}", {"type": "summary_text", "text": "".join(thought)}
        item = {"id": id, "type": "reasoning", "summary": []}
        step("output_item.added", output_index=at, item=item)
        where = {"item_id": id, "output_index": at, "summary_index": 0}
        step("reasoning_summary_part.added", **where, part={"type": "summary_text", "text": ""})
        for piece in thought:
            step("reasoning_summary_text.delta", **where, delta=piece, obfuscation="q")
        step("reasoning_summary_text.done", **where, text=summary["text"])
        step("reasoning_summary_part.done", **where, part=summary)
        items.append({**item, "summary": [summary]})
        step("output_item.done", output_index=at, item=items[-1])
    if text:
        at, id = len(items), f"msg_{n:05}"
        item = {"id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        step("output_item.added", output_index=at, item=item)
        where = {"item_id": id, "output_index": at, "content_index": 0}
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        step("content_part.added", **where, part=part)
        for piece in text:
            step("output_text.delta", **where, delta=piece, logprobs=[], obfuscation="z")
        step("output_text.done", **where, text="".join(text), logprobs=[])
        part = {**part, "text": "".join(text)}
        step("content_part.done", **where, part=part)
        items.append({**item, "status": "completed", "content": [part]})
        step("output_item.done", output_index=at, item=items[-1])
    for k, (name, arguments) in enumerate(calls):
        at, id = len(items), f"fc_{n:05}{k}"
        item = {"id": id, "type": "function_call", "status": "in_progress", "arguments": ""}
        item |= {"call_id": f"call_{n:03}{k}rEs", "name": name}
        step("output_item.added", output_index=at, item=item)
        for piece in cut(dumps(arguments)):
            step("function_call_arguments.delta", item_id=id, output_index=at, delta=piece)
        step("function_call_arguments.done", item_id=id, output_index=at, arguments=dumps(arguments), name=name)
        items.append({**item, "status": "completed", "arguments": dumps(arguments)})
        step("output_item.done", output_index=at, item=items[-1])

    usage = {"input_tokens": 21, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 11 + n}
    usage |= {"output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 32 + n}
    response = {
        "id": f"resp_{n:05}", "object": "response", "created_at": NOW + n, "status": "completed", "error": None,
        "incomplete_details": None, "instructions": None, "max_output_tokens": None,
        "model": f"{body['model']}-2024-08-06", "output": items, "parallel_tool_calls": True,
        "previous_response_id": None, "reasoning": {"effort": None, "summary": None}, "store": True,
        "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto",
        "tools": body.get("tools", []), "top_p": 1.0, "truncation": "disabled", "usage": usage, "user": None,
        "metadata": {},
    }
    if not stream:
        return whole(response)
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    events = [{"type": f"response.{kind}", "response": begun} for kind in ["created", "in_progress"]] + steps
    events.append({"type": "response.completed", "response": response})
    return sse([{**event, "sequence_number": at} for at, event in enumerate(events)], named=True)


def openai_embeddings(topic, body, stream, n):
    def vector(values):
        if body.get("encoding_format") == "base64":
            return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
        return values

    count = len(body["input"]) if isinstance(body["input"], list) else 1
    data = [{"object": "embedding", "index": at, "embedding": vector(VECTORS[at])} for at in range(count)]
    usage = {"prompt_tokens": 8 + n, "total_tokens": 8 + n}
    return whole({"object": "list", "data": data, "model": body.get("model", "text-embedding-3-small"), "usage": usage})


# ----------------------------------------------------------------------------------------------------------- Anthropic


def anthropic_message(topic, model, n):
    """The message and the events that it comes in."""
    thought, text, calls = parts_of(topic)
    blocks, deltas = [], []
    if thought:
        blocks.append({"type": "thinking", "thinking": "".join(thought), "signature": SIGNATURE})
        deltas.append(
            ({"type": "thinking", "thinking": "", "signature": ""},
             [{"type": "thinking_delta", "thinking": piece} for piece in thought]
             + [{"type": "signature_delta", "signature": SIGNATURE}])
        )
    blocks.append({"type": "text", "text": "".join(text)})
    deltas.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in text]))
    for at, (name, arguments) in enumerate(calls):
        block = {"type": "tool_use", "id": f"toolu_{n:03}{at}Ab", "name": name, "input": arguments}
        blocks.append(block)
        pieces = ["", *cut(dumps(arguments))]
        deltas.append(({**block, "input": {}}, [{"type": "input_json_delta", "partial_json": p} for p in pieces]))
    stop = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    before = {
        "input_tokens": 25, "cache_creation_input_tokens": 6, "cache_read_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 6, "ephemeral_1h_input_tokens": 0}, "service_tier": "standard",
    }
    message = {"id": f"msg_{n:05}Xy", "type": "message", "role": "assistant", "model": model, "content": blocks, **stop}
    message["usage"] = {**before, "output_tokens": 12 + n}

    begun = {**message, "content": [], "stop_reason": None, "usage": {**before, "output_tokens": 1}}
    events = [{"type": "message_start", "message": begun}]
    for index, (start, changes) in enumerate(deltas):
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        if index == 0:
            events.append({"type": "ping"})
        events += [{"type": "content_block_delta", "index": index, "delta": change} for change in changes]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 12 + n}})
    events.append({"type": "message_stop"})
    return message, events


def anthropic(topic, body, stream, n, model=None):
    message, events = anthropic_message(topic, model or body["model"], n)
    return sse(events, named=True) if stream else whole(message)


# -------------------------------------------------------------------------------------------------------------- Bedrock


def event_message(kind, payload):
    """One message of `application/vnd.amazon.eventstream`."""
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\7" + struct.pack("!H", len(value)) + value.encode()
        for name, value in [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")]
    )
    data = dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(data), len(headers))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + data
    return message + struct.pack("!I", binascii.crc32(message))


def event_stream(events, **headers):
    chunks = [event_message(kind, payload) for kind, payload in events]
    return Sent(chunks, "application/vnd.amazon.eventstream", {k.replace("_", "-"): v for k, v in headers.items()})


def bedrock_invoke(topic, body, stream, n):
    if "inputText" in body:  # Titan's embeddings
        return whole({"embedding": VECTORS[0], "inputTextTokenCount": 5 + n})
    message, events = anthropic_message(topic, "claude-3-haiku-20240307", n)
    if not stream:
        counts = {"X_Amzn_Bedrock_Input_Token_Count": "25", "X_Amzn_Bedrock_Output_Token_Count": "12"}
        return whole(message, **counts, X_Amzn_Bedrock_Invocation_Latency="512")
    events[-1]["amazon-bedrock-invocationMetrics"] = {
        "inputTokenCount": 25, "outputTokenCount": 12 + n, "invocationLatency": 512, "firstByteLatency": 300,
    }
    wrapped = [
        ("chunk", {"bytes": base64.b64encode(dumps(event).encode()).decode(), "p": "abcdefghijk"[: at % 11 + 1]})
        for at, event in enumerate(events)
    ]
    return event_stream(wrapped, X_Amzn_Bedrock_Content_Type="application/json")


def bedrock_converse(topic, body, stream, n):
    thought, text, calls = parts_of(topic)
    ids = [f"tooluse_{n:03}{at}_Q" for at in range(len(calls))]
    usage = {"inputTokens": 25, "outputTokens": 12 + n, "totalTokens": 37 + n, "cacheReadInputTokens": 7}
    usage["cacheWriteInputTokens"] = 0
    stop = "tool_use" if calls else "end_turn"
    if not stream:
        content = []
        if thought:
            content.append({"reasoningContent": {"reasoningText": {"text": "".join(thought), "signature": SIGNATURE}}})
        content.append({"text": "".join(text)})
        for id, (name, arguments) in zip(ids, calls):
            content.append({"toolUse": {"toolUseId": id, "name": name, "input": arguments}})
        output = {"message": {"role": "assistant", "content": content}}
        return whole({"metrics": {"latencyMs": 551}, "output": output, "stopReason": stop, "usage": usage})

    events, block = [("messageStart", {"p": "abcd", "role": "assistant"})], 0

    def delta(value):
        events.append(("contentBlockDelta", {"contentBlockIndex": block, "delta": value, "p": "abcdefgh"}))

    def stopped():
        events.append(("contentBlockStop", {"contentBlockIndex": block, "p": "abc"}))
        return block + 1

    if thought:
        for piece in thought:
            delta({"reasoningContent": {"text": piece}})
        delta({"reasoningContent": {"signature": SIGNATURE}})
        block = stopped()
    for piece in text:
        delta({"text": piece})
    block = stopped()
    for id, (name, arguments) in zip(ids, calls):
        start = {"toolUse": {"name": name, "toolUseId": id}}
        events.append(("contentBlockStart", {"contentBlockIndex": block, "p": "ab", "start": start}))
        for piece in ["", *cut(dumps(arguments))]:
            delta({"toolUse": {"input": piece}})
        block = stopped()
    events.append(("messageStop", {"p": "abcdef", "stopReason": stop}))
    events.append(("metadata", {"metrics": {"latencyMs": 551}, "p": "abcdefghi", "usage": usage}))
    return event_stream(events)


# --------------------------------------------------------------------------------------------- Gemini and Google Vertex


def gemini(topic, body, stream, n, model):
    thought, text, calls = parts_of(topic)
    usage = {
        "promptTokenCount": 9, "candidatesTokenCount": 10 + n, "totalTokenCount": 24 + n, "thoughtsTokenCount": 5,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}],
    }
    head = {"modelVersion": model, "responseId": f"r{n:05}aF7"}
    call_parts = [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls]
    if call_parts:
        call_parts[0]["thoughtSignature"] = SIGNATURE

    def chunk(parts, last=False, counts=usage):
        candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if last:
            candidate["finishReason"] = "STOP"
        return {"candidates": [candidate], "usageMetadata": counts, **head}

    if not stream:
        parts = [{"text": "".join(thought), "thought": True}] if thought else []
        return whole(chunk([*parts, {"text": "".join(text)}, *call_parts], last=True))
    early = {**usage, "candidatesTokenCount": 1, "totalTokenCount": 15}
    events = [chunk([{"text": piece, "thought": True}], counts=early) for piece in thought]
    events += [chunk([{"text": piece}], counts=early) for piece in text]
    events += [chunk([part], counts=early) for part in call_parts]
    events.append(chunk([{"text": ""}], last=True))
    return sse(events, end="\r\n", content_type="text/event-stream")


def gemini_embeddings(topic, body, stream, n):
    return whole({"embeddings": [{"values": values} for values in VECTORS[: len(body["requests"])]]})


def vertex_predict(topic, body, stream, n):
    predictions = [
        {"embeddings": {"statistics": {"truncated": False, "token_count": 4}, "values": values}}
        for values in VECTORS[: len(body["instances"])]
    ]
    return whole({"predictions": predictions, "metadata": {"billableCharacterCount": 10 + n}})


# --------------------------------------------------------------------------------------------------------------- Ollama


def ollama_chat(topic, body, stream, n):
    thought, text, calls = parts_of(topic)
    head = {"model": body["model"], "created_at": ISO}
    tools = [
        {"id": f"call_{n:03}{at}ol", "function": {"index": at, "name": name, "arguments": arguments}}
        for at, (name, arguments) in enumerate(calls)
    ]
    end = {"done": True, "done_reason": "stop", **ollama_counts(n)}
    if not stream:
        message = {"role": "assistant", "content": "".join(text)}
        message |= {"thinking": "".join(thought)} if thought else {}
        message |= {"tool_calls": tools} if tools else {}
        return whole({**head, "message": message, **end})
    messages = [{"role": "assistant", "content": "", "thinking": piece} for piece in thought]
    messages += [{"role": "assistant", "content": piece} for piece in text]
    messages += [{"role": "assistant", "content": "", "tool_calls": [tool]} for tool in tools]
    values = [{**head, "message": message, "done": False} for message in messages]
    values.append({**head, "message": {"role": "assistant", "content": ""}, **end})
    return lines(values, "application/x-ndjson")


def ollama_generate(topic, body, stream, n):
    thought, text, _ = parts_of(topic)
    head = {"model": body["model"], "created_at": ISO}
    end = {"done": True, "done_reason": "stop", "context": [1, 2, 3], **ollama_counts(n)}
    if not stream:
        thinking = {"thinking": "".join(thought)} if thought else {}
        return whole({**head, "response": "".join(text), **thinking, **end})
    values = [{**head, "response": "", "thinking": piece, "done": False} for piece in thought]
    values += [{**head, "response": piece, "done": False} for piece in text]
    return lines([*values, {**head, "response": "", **end}], "application/x-ndjson")


def ollama_counts(n):
    spent = {"total_duration": 883_583_458, "load_duration": 1_334_875, "prompt_eval_duration": 342_546_000}
    return {**spent, "prompt_eval_count": 26, "eval_count": 13 + n, "eval_duration": 535_599_000}


def ollama_embed(topic, body, stream, n):
    count = len(body["input"]) if isinstance(body["input"], list) else 1
    spent = {"total_duration": 14_143_917, "load_duration": 1_019_500, "prompt_eval_count": 8 + n}
    return whole({"model": body["model"], "embeddings": VECTORS[:count], **spent})


def ollama_embeddings(topic, body, stream, n):
    return whole({"embedding": VECTORS[0]})


# --------------------------------------------------------------------------------------------------------------- Cohere


def cohere_v2(topic, body, stream, n):
    thought, text, calls = parts_of(topic)
    ids = [f"get_weather_{n:03}{at}co" for at in range(len(calls))]
    usage = {"billed_units": {"input_tokens": 17, "output_tokens": 12 + n}}
    usage["tokens"] = {"input_tokens": 215, "output_tokens": 63 + n}
    finish = "TOOL_CALL" if calls else "COMPLETE"
    tools = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": dumps(arguments)}}
        for id, (name, arguments) in zip(ids, calls)
    ]
    id = f"c14c80c3-18eb-4519-9460-{n:012}"
    if not stream:
        message = {"role": "assistant"}
        if calls:
            message |= {"tool_plan": "".join(text), "tool_calls": tools}
        else:
            message["content"] = [{"type": "thinking", "thinking": "".join(thought)}] if thought else []
            message["content"].append({"type": "text", "text": "".join(text)})
        return whole({"id": id, "finish_reason": finish, "message": message, "usage": usage})

    start = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events, index = [{"id": id, "type": "message-start", "delta": {"message": start}}], 0

    def step(kind, index, **message):
        events.append({"type": kind, "index": index, **({"delta": {"message": message}} if message else {})})

    def content(kind, pieces):
        step("content-start", index, content={"type": kind, kind: ""})
        for piece in pieces:
            step("content-delta", index, content={kind: piece})
        step("content-end", index)

    if calls:
        events += [{"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}} for piece in text]
        for index, tool in enumerate(tools):
            function = {"name": tool["function"]["name"], "arguments": ""}
            step("tool-call-start", index, tool_calls={**tool, "function": function})
            for piece in cut(tool["function"]["arguments"]):
                step("tool-call-delta", index, tool_calls={"function": {"arguments": piece}})
            step("tool-call-end", index)
    else:
        if thought:
            content("thinking", thought)
            index = 1
        content("text", text)
    events.append({"type": "message-end", "delta": {"finish_reason": finish, "usage": usage}})
    return sse(events, named=True, content_type="text/event-stream")


def cohere_v1(topic, body, stream, n):
    _, text, calls = parts_of(topic)
    tools = [{"name": name, "parameters": arguments} for name, arguments in calls]
    generation = f"5ba1-{n:08}"
    meta = {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 17, "output_tokens": 12 + n}}
    meta["tokens"] = {"input_tokens": 215, "output_tokens": 63 + n}
    response = {
        "response_id": f"aa14-{n:08}", "text": "".join(text), "generation_id": generation, "chat_history": [],
        "finish_reason": "COMPLETE", "meta": meta,
    }
    response |= {"tool_calls": tools} if tools else {}
    if not stream:
        return whole(response)
    events = [{"event_type": "stream-start", "generation_id": generation}]
    if tools:
        events += [{"event_type": "tool-calls-chunk", "text": piece} for piece in text]
        events.append({"event_type": "tool-calls-generation", "text": "".join(text), "tool_calls": tools})
    else:
        events += [{"event_type": "text-generation", "text": piece} for piece in text]
    events.append({"event_type": "stream-end", "response": response, "finish_reason": "COMPLETE"})
    last = len(events) - 1
    return lines([{"is_finished": at == last, **e} for at, e in enumerate(events)], "application/stream+json")


def cohere_embed(topic, body, stream, n):
    vectors = VECTORS[: len(body["texts"])]
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 6 + n}}
    answer = {"id": f"da6e531f-54c5-4a73-bf92-{n:012}", "texts": body["texts"], "meta": meta}
    if body.get("embedding_types"):
        return whole({**answer, "embeddings": {"float": vectors}, "response_type": "embeddings_by_type"})
    return whole({**answer, "embeddings": vectors, "response_type": "embeddings_floats"})
