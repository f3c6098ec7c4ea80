import json
from contextlib import closing

import cohere
from sdk import DESCRIPTION, KEY, RESULT, SCHEMA, Sdk, call, given, plain

RAISES = {
    404: cohere.NotFoundError,
    429: cohere.TooManyRequestsError,
    503: cohere.ServiceUnavailableError,
}


class V2(Sdk):
    name = "cohere v2"
    model = "command-a-03-2025"
    words = {"text": "COMPLETE", "tools": "TOOL_CALL"}
    raises = RAISES

    def __init__(self, base):
        self.client = cohere.ClientV2(**given(base, api_key=KEY, base_url=base), max_retries=0)

    def turn(self, history, tools, stream):
        asked = {"model": self.model, "messages": history}
        if tools:
            function = {"name": "get_weather", "description": DESCRIPTION, "parameters": SCHEMA}
            asked["tools"] = [{"type": "function", "function": function}]
        held = self.streamed(asked) if stream else self.whole(asked)
        return held, held

    def whole(self, asked):
        answer = self.client.chat(**asked)
        content = answer.message.content or []
        return {
            "text": "".join(block.text for block in content if block.type == "text"),
            "thinking": "".join(block.thinking for block in content if block.type == "thinking") or None,
            "plan": answer.message.tool_plan,
            "calls": [call(c.id, c.function.name, c.function.arguments) for c in answer.message.tool_calls or []],
            "finish": answer.finish_reason,
            "usage": plain(answer.usage),
            "id": answer.id,
        }

    def streamed(self, asked):
        held = {"text": "", "thinking": "", "plan": "", "calls": [], "finish": None}
        for event in self.client.chat_stream(**asked):
            match event.type:
                case "message-start":
                    held["id"] = event.id
                case "content-delta":
                    content = event.delta.message.content
                    held["text"] += content.text or ""
                    held["thinking"] += content.thinking or ""
                case "tool-plan-delta":
                    held["plan"] += event.delta.message.tool_plan
                case "tool-call-start":
                    tool = event.delta.message.tool_calls
                    held["calls"].append([tool.id, tool.function.name, tool.function.arguments or ""])
                case "tool-call-delta":
                    held["calls"][event.index][2] += event.delta.message.tool_calls.function.arguments
                case "message-end":
                    held["finish"] = event.delta.finish_reason
                    held["usage"] = plain(event.delta.usage)
        calls = [call(*c) for c in held["calls"]]
        return {**held, "calls": calls, "thinking": held["thinking"] or None, "plan": held["plan"] or None}

    def after(self, history, answer, calls):
        tool_calls = [
            {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": json.dumps(c["arguments"])}}
            for c in calls
        ]
        said = {"role": "assistant", "tool_calls": tool_calls, "tool_plan": answer["plan"]}
        results = [{"role": "tool", "tool_call_id": c["id"], "content": RESULT["report"]} for c in calls]
        return [*history, said, *results]

    def hurry(self, history):
        with closing(self.client.chat_stream(model=self.model, messages=history)) as events:
            return any(event.type == "message-end" for event in events)

    def embed(self, texts):
        answer = self.client.embed(
            model="embed-v4.0", texts=texts, input_type="search_query", embedding_types=["float"]
        )
        return {"vectors": answer.embeddings.float_}

    def retry_after(self, error):
        return (error.headers or {}).get("retry-after")


class V1(Sdk):
    name = "cohere v1"
    model = "command-r-plus"
    words = {"text": "COMPLETE", "tools": "COMPLETE"}
    kinds = ("text", "tools", "embed")
    raises = RAISES

    def __init__(self, base):
        self.client = cohere.Client(**given(base, api_key=KEY, base_url=base), max_retries=0)

    def first(self, question):
        return {"message": question}

    def turn(self, history, tools, stream):
        asked = {"model": self.model, **history}
        if tools:
            definitions = {"city": {"type": "str", "required": True}, "days": {"type": "int", "required": True}}
            asked["tools"] = [
                {"name": "get_weather", "description": DESCRIPTION, "parameter_definitions": definitions}
            ]
        text = None
        if stream:
            pieces = []
            for event in self.client.chat_stream(**asked):
                if event.event_type == "text-generation":
                    pieces.append(event.text)
                elif event.event_type == "stream-end":
                    answer, finish = event.response, event.finish_reason
            text = "".join(pieces)
        else:
            answer = self.client.chat(**asked)
            finish = answer.finish_reason
        assert not text or text == answer.text, "the pieces are the text"
        held = {
            "text": answer.text,
            "calls": [call(None, c.name, c.parameters) for c in answer.tool_calls or []],
            "finish": finish,
            "usage": plain(answer.meta),
            "id": answer.generation_id,
        }
        return held, answer

    def after(self, history, answer, calls):
        results = [
            {"call": {"name": c["name"], "parameters": c["arguments"]}, "outputs": [RESULT]} for c in calls
        ]
        return {**history, "tool_results": results, "force_single_step": True}

    def hurry(self, history):
        with closing(self.client.chat_stream(model=self.model, **history)) as events:
            return any(event.event_type == "stream-end" for event in events)

    def embed(self, texts):
        answer = self.client.embed(model="embed-english-v3.0", texts=texts, input_type="search_query", batching=False)
        return {"vectors": answer.embeddings}

    def retry_after(self, error):
        return (error.headers or {}).get("retry-after")


SDKS = [V2, V1]
