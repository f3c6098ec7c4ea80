from contextlib import closing

import ollama
from sdk import DESCRIPTION, RESULT, SCHEMA, Sdk, call, given

PARAMETERS = {key: value for key, value in SCHEMA.items() if key != "additionalProperties"}
FUNCTION = {"name": "get_weather", "description": DESCRIPTION, "parameters": PARAMETERS}


class Chat(Sdk):
    name = "ollama chat"
    model = "llama3.2"
    words = {"text": "stop", "tools": "stop"}
    raises = {404: ollama.ResponseError, 429: ollama.ResponseError, 503: ollama.ResponseError}

    def __init__(self, base):
        self.client = ollama.Client(**given(base, host=base))

    def turn(self, history, tools, stream):
        asked = {"model": self.model, "messages": history}
        if tools:
            asked["tools"] = [{"type": "function", "function": FUNCTION}]
        chunks = list(self.client.chat(**asked, stream=True)) if stream else [self.client.chat(**asked)]
        last = chunks[-1]
        held = {
            "text": "".join(chunk.message.content or "" for chunk in chunks),
            "thinking": "".join(chunk.message.thinking or "" for chunk in chunks) or None,
            "calls": [
                call(getattr(c, "id", None), c.function.name, dict(c.function.arguments))
                for chunk in chunks
                for c in chunk.message.tool_calls or []
            ],
            "finish": last.done_reason,
            "usage": {"prompt_eval_count": last.prompt_eval_count, "eval_count": last.eval_count},
            "model": last.model,
        }
        return held, held

    def after(self, history, answer, calls):
        tool_calls = [{"function": {"name": c["name"], "arguments": c["arguments"]}} for c in calls]
        said = {"role": "assistant", "content": answer["text"], "tool_calls": tool_calls}
        return [*history, said, *({"role": "tool", "content": RESULT["report"], "tool_name": c["name"]} for c in calls)]

    def hurry(self, history):
        with closing(self.client.chat(model=self.model, messages=history, stream=True)) as chunks:
            return any(chunk.done for chunk in chunks)

    def embed(self, texts):
        answer = self.client.embed(model="nomic-embed-text", input=texts)
        older = self.client.embeddings(model="nomic-embed-text", prompt=texts[0])
        vectors = [list(vector) for vector in answer.embeddings]
        return {"vectors": vectors, "older": list(older.embedding), "tokens": answer.prompt_eval_count}

    def retry_after(self, error):
        return None


class Generate(Sdk):
    name = "ollama generate"
    model = "llama3.2"
    kinds = ("text", "think")
    raises = Chat.raises

    def __init__(self, base):
        self.client = ollama.Client(**given(base, host=base))

    def first(self, question):
        return question

    def turn(self, history, tools, stream):
        asked = {"model": self.model, "prompt": history}
        chunks = list(self.client.generate(**asked, stream=True)) if stream else [self.client.generate(**asked)]
        last = chunks[-1]
        held = {
            "text": "".join(chunk.response for chunk in chunks),
            "thinking": "".join(chunk.thinking or "" for chunk in chunks) or None,
            "calls": [],
            "finish": last.done_reason,
            "usage": {"prompt_eval_count": last.prompt_eval_count, "eval_count": last.eval_count},
            "model": last.model,
        }
        return held, held

    def retry_after(self, error):
        return None


SDKS = [Chat, Generate]
