"""Chat wires as a client speaks them: a conversation to a request, and an answer, whole or streamed, to what it says."""

import base64
import json
import struct
from dataclasses import dataclass, field


@dataclass
class Said:
    """What an answer says."""

    text: str = ""
    reasoning: str = ""
    calls: list = field(default_factory=list)

    def call(self, name, arguments):
        if isinstance(arguments, str):
            arguments = json.loads(arguments or "{}")
        self.calls.append([name, arguments])


@dataclass
class Chat:
    """What is asked."""

    user: str
    model: str = "gpt-4o"
    system: str = ""
    tools: tuple = ()
    earlier: tuple = ()  # pairs of a question and its answer
    result: tuple = ()  # of a tool that was called after the question: id, name, arguments, text


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def sse(body):
    for line in body.decode().splitlines():
        if line.startswith("data:") and line[5:].strip() != "[DONE]":
            yield json.loads(line[5:])


def lines(body):
    return [json.loads(line) for line in body.decode().splitlines() if line]


def eventstream(body):
    while body:
        total, header = struct.unpack(">II", body[:8])
        kind = body[12 : 12 + header].split(b":event-type\x07", 1)[1]
        length = int.from_bytes(kind[:2], "big")
        payload = body[12 + header : total - 4]
        yield kind[2 : 2 + length].decode(), json.loads(payload)
        body = body[total:]


class OpenAI:
    name = "openai chat"
    path = "/v1/chat/completions"

    def request(self, chat, stream):
        messages = [{"role": "system", "content": chat.system}] if chat.system else []
        for question, answer in chat.earlier:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        messages.append({"role": "user", "content": chat.user})
        if chat.result:
            id, name, arguments, text = chat.result
            call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": id, "content": text})
        body = {"model": chat.model, "messages": messages, "stream": stream}
        if chat.tools:
            body["tools"] = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in chat.tools]
        return self.path, body

    def read(self, body, stream):
        said, calls = Said(), {}
        pieces = [c["choices"][0]["delta"] for c in sse(body) if c["choices"]] if stream else None
        for piece in pieces or [json.loads(body)["choices"][0]["message"]]:
            said.text += piece.get("content") or ""
            said.reasoning += piece.get("reasoning_content") or ""
            for i, call in enumerate(piece.get("tool_calls") or []):
                into = calls.setdefault(call.get("index", i), ["", ""])
                into[0] += call["function"].get("name") or ""
                into[1] += call["function"].get("arguments") or ""
        for name, arguments in calls.values():
            said.call(name, arguments)
        return said


class Azure(OpenAI):
    name = "azure chat"

    def request(self, chat, stream):
        return f"/openai/deployments/{chat.model}/chat/completions?api-version=2024-10-21", super().request(chat, stream)[1]


class Responses:
    name = "openai responses"

    def request(self, chat, stream):
        items = []
        for question, answer in chat.earlier:
            items += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        items.append({"role": "user", "content": [{"type": "input_text", "text": chat.user}]})
        if chat.result:
            id, name, arguments, text = chat.result
            items.append({"type": "function_call", "call_id": id, "name": name, "arguments": arguments})
            items.append({"type": "function_call_output", "call_id": id, "output": text})
        body = {"model": chat.model, "input": items, "stream": stream}
        if chat.system:
            body["instructions"] = chat.system
        if chat.tools:
            body["tools"] = [{"type": "function", "name": n, "parameters": SCHEMA} for n in chat.tools]
        return "/v1/responses", body

    def read(self, body, stream):
        said = Said()
        done = (e["item"] for e in sse(body) if e["type"] == "response.output_item.done") if stream else None
        for item in done or json.loads(body)["output"]:
            if item["type"] == "message":
                said.text += "".join(p["text"] for p in item["content"] if p["type"] == "output_text")
            elif item["type"] == "reasoning":
                said.reasoning += "".join(p["text"] for p in item.get("summary", []))
            elif item["type"] == "function_call":
                said.call(item["name"], item["arguments"])
        return said


class Anthropic:
    name = "anthropic"

    def request(self, chat, stream):
        messages = []
        for question, answer in chat.earlier:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        messages.append({"role": "user", "content": chat.user})
        if chat.result:
            id, name, arguments, text = chat.result
            use = {"type": "tool_use", "id": id, "name": name, "input": json.loads(arguments)}
            messages.append({"role": "assistant", "content": [use]})
            messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": text}]})
        body = {"model": chat.model, "max_tokens": 99, "messages": messages, "stream": stream}
        if chat.system:
            body["system"] = chat.system
        if chat.tools:
            body["tools"] = [{"name": n, "input_schema": SCHEMA} for n in chat.tools]
        return "/v1/messages", body

    def read(self, body, stream):
        blocks = json.loads(body)["content"] if not stream else self.blocks(body)
        said = Said()
        for block in blocks:
            said.text += block.get("text", "")
            said.reasoning += block.get("thinking", "")
            if block["type"] == "tool_use":
                said.call(block["name"], block["input"])
        return said

    def blocks(self, body):
        blocks = {}
        for event in sse(body):
            if event["type"] == "content_block_start":
                blocks[event["index"]] = {**event["content_block"], "json": ""}
            elif event["type"] == "content_block_delta":
                block, delta = blocks[event["index"]], event["delta"]
                for key in ("text", "thinking"):
                    if key in delta:
                        block[key] = block.get(key, "") + delta[key]
                block["json"] += delta.get("partial_json", "")
        for block in blocks.values():
            if block["json"]:
                block["input"] = json.loads(block["json"])
        return blocks.values()


class Gemini:
    name = "gemini"
    prefix = "/v1beta/models"

    def request(self, chat, stream):
        contents = []
        for question, answer in chat.earlier:
            contents.append({"role": "user", "parts": [{"text": question}]})
            contents.append({"role": "model", "parts": [{"text": answer}]})
        contents.append({"role": "user", "parts": [{"text": chat.user}]})
        if chat.result:
            _, name, arguments, text = chat.result
            contents.append({"role": "model", "parts": [{"functionCall": {"name": name, "args": json.loads(arguments)}}]})
            response = {"functionResponse": {"name": name, "response": {"result": text}}}
            contents.append({"role": "user", "parts": [response]})
        body = {"contents": contents}
        if chat.system:
            body["systemInstruction"] = {"parts": [{"text": chat.system}]}
        if chat.tools:
            body["tools"] = [{"functionDeclarations": [{"name": n, "parameters": SCHEMA} for n in chat.tools]}]
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"{self.prefix}/{chat.model}:{verb}", body

    def read(self, body, stream):
        said = Said()
        for chunk in sse(body) if stream else [json.loads(body)]:
            for part in chunk["candidates"][0].get("content", {}).get("parts", []):
                if part.get("thought"):
                    said.reasoning += part.get("text", "")
                else:
                    said.text += part.get("text", "")
                if "functionCall" in part:
                    said.call(part["functionCall"]["name"], part["functionCall"].get("args", {}))
        return said


class Vertex(Gemini):
    name = "vertex"
    prefix = "/v1/projects/p/locations/l/publishers/google/models"


class Converse:
    name = "bedrock converse"

    def request(self, chat, stream):
        messages = []
        for question, answer in chat.earlier:
            messages.append({"role": "user", "content": [{"text": question}]})
            messages.append({"role": "assistant", "content": [{"text": answer}]})
        messages.append({"role": "user", "content": [{"text": chat.user}]})
        if chat.result:
            id, name, arguments, text = chat.result
            use = {"toolUse": {"toolUseId": id, "name": name, "input": json.loads(arguments)}}
            result = {"toolResult": {"toolUseId": id, "content": [{"text": text}]}}
            messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
        body = {"messages": messages}
        if chat.system:
            body["system"] = [{"text": chat.system}]
        if chat.tools:
            specs = [{"toolSpec": {"name": n, "inputSchema": {"json": SCHEMA}}} for n in chat.tools]
            body["toolConfig"] = {"tools": specs}
        return f"/model/{chat.model}/converse{'-stream' if stream else ''}", body

    def read(self, body, stream):
        said = Said()
        for block in self.blocks(body) if stream else json.loads(body)["output"]["message"]["content"]:
            said.text += block.get("text", "")
            said.reasoning += block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
            if "toolUse" in block:
                said.call(block["toolUse"]["name"], block["toolUse"]["input"])
        return said

    def blocks(self, body):
        blocks = {}
        for event, payload in eventstream(body):
            payload = payload.get(event, payload)
            block = blocks.setdefault(payload.get("contentBlockIndex", -1), {})
            if event == "contentBlockStart" and "toolUse" in payload["start"]:
                block["toolUse"] = {"name": payload["start"]["toolUse"]["name"], "input": ""}
            elif event == "contentBlockDelta":
                delta = payload["delta"]
                block["text"] = block.get("text", "") + delta.get("text", "")
                if "toolUse" in delta:
                    block["toolUse"]["input"] += delta["toolUse"]["input"]
                if "text" in delta.get("reasoningContent", {}):
                    thought = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]
                    thought["text"] += delta["reasoningContent"]["text"]
        return [blocks[index] for index in sorted(blocks)]


class Ollama:
    name = "ollama"

    def request(self, chat, stream):
        messages = [{"role": "system", "content": chat.system}] if chat.system else []
        for question, answer in chat.earlier:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        messages.append({"role": "user", "content": chat.user})
        if chat.result:
            _, name, arguments, text = chat.result
            call = {"function": {"name": name, "arguments": json.loads(arguments)}}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
            messages.append({"role": "tool", "tool_name": name, "content": text})
        body = {"model": chat.model, "messages": messages, "stream": stream}
        if chat.tools:
            body["tools"] = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in chat.tools]
        return "/api/chat", body

    def read(self, body, stream):
        said = Said()
        for message in [line["message"] for line in lines(body) if "message" in line]:
            said.text += message.get("content") or ""
            said.reasoning += message.get("thinking") or ""
            for call in message.get("tool_calls") or []:
                said.call(call["function"]["name"], call["function"]["arguments"])
        return said


class Cohere(OpenAI):
    name = "cohere"
    path = "/v2/chat"

    def read(self, body, stream):
        said, calls = Said(), {}
        if not stream:
            message = json.loads(body)["message"]
            for part in message.get("content") or []:
                said.text += part.get("text", "")
                said.reasoning += part.get("thinking", "")
            for call in message.get("tool_calls") or []:
                said.call(call["function"]["name"], call["function"]["arguments"])
            return said
        for event in sse(body):
            if not event["type"].startswith(("content-", "tool-call-")):
                continue
            message = event.get("delta", {}).get("message", {})
            content = message.get("content") or {}
            said.text += content.get("text", "")
            said.reasoning += content.get("thinking", "")
            if "tool_calls" in message:
                into = calls.setdefault(event.get("index", 0), ["", ""])
                into[0] += message["tool_calls"]["function"].get("name", "")
                into[1] += message["tool_calls"]["function"].get("arguments", "")
        for name, arguments in calls.values():
            said.call(name, arguments)
        return said


WIRES = [OpenAI(), Azure(), Responses(), Anthropic(), Gemini(), Vertex(), Converse(), Ollama(), Cohere()]


# ----------------------------------------------------------------------------------------------------- embeddings


def numbers(vector):
    """A vector as a client reads it: a list, or base64 of little-endian f32."""
    if isinstance(vector, str):
        packed = base64.b64decode(vector)
        vector = struct.unpack(f"<{len(packed) // 4}f", packed)
    return [round(number, 5) for number in vector]


EMBEDDINGS = [
    ("openai", "/v1/embeddings", lambda t: {"model": "e", "input": t}, lambda b: b["data"][0]["embedding"]),
    ("ollama", "/api/embed", lambda t: {"model": "e", "input": t}, lambda b: b["embeddings"][0]),
    (
        "cohere",
        "/v2/embed",
        lambda t: {"model": "e", "input_type": "x", "embedding_types": ["float"], "texts": [t]},
        lambda b: b["embeddings"]["float"][0],
    ),
    (
        "gemini",
        "/v1beta/models/e:embedContent",
        lambda t: {"content": {"parts": [{"text": t}]}},
        lambda b: b["embedding"]["values"],
    ),
]
