import json
from contextlib import closing

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from sdk import DESCRIPTION, KEY, RESULT, SCHEMA, Sdk, call, given
from sdk_anthropic import TOOL


def client(base):
    keys = {"aws_access_key_id": "AKIACLIENT", "aws_secret_access_key": KEY}
    where = given(base, endpoint_url=base, region_name="us-east-1", **keys)
    return boto3.client("bedrock-runtime", **where, config=Config(retries={"total_max_attempts": 1}))


class Bedrock(Sdk):
    words = {"text": "end_turn", "tools": "tool_use"}
    raises = {404: ClientError, 429: ClientError, 503: ClientError}

    def __init__(self, base):
        self.client = client(base)

    def status(self, error):
        return error.response["ResponseMetadata"]["HTTPStatusCode"]

    def retry_after(self, error):
        return error.response["ResponseMetadata"]["HTTPHeaders"].get("retry-after")


class Converse(Bedrock):
    name = "boto3 converse"
    model = "anthropic.claude-3-haiku-20240307-v1:0"
    kinds = ("text", "think", "tools")

    def first(self, question):
        return [{"role": "user", "content": [{"text": question}]}]

    def turn(self, history, tools, stream):
        asked = {"modelId": self.model, "messages": history}
        if tools:
            spec = {"name": "get_weather", "description": DESCRIPTION, "inputSchema": {"json": SCHEMA}}
            asked["toolConfig"] = {"tools": [{"toolSpec": spec}]}
        if stream:
            content, end = self.streamed(self.client.converse_stream(**asked)["stream"])
        else:
            end = self.client.converse(**asked)
            content = end["output"]["message"]["content"]
        uses = [block["toolUse"] for block in content if "toolUse" in block]
        thoughts = [block["reasoningContent"]["reasoningText"] for block in content if "reasoningContent" in block]
        held = {
            "text": "".join(block.get("text", "") for block in content),
            "thinking": "".join(thought["text"] for thought in thoughts) or None,
            "signature": thoughts[0].get("signature") if thoughts else None,
            "calls": [call(use["toolUseId"], use["name"], use["input"]) for use in uses],
            "kinds": [next(iter(block)) for block in content],
            "finish": end["stopReason"],
            "usage": end["usage"],
        }
        return held, content

    def streamed(self, events):
        blocks, end = {}, {}
        for event in events:
            (kind, value), = event.items()
            if kind == "contentBlockStart":
                blocks[value["contentBlockIndex"]] = {"toolUse": {**value["start"]["toolUse"], "input": ""}}
            elif kind == "contentBlockDelta":
                (part, change), = value["delta"].items()
                at = value["contentBlockIndex"]
                if part == "text":
                    block = blocks.setdefault(at, {"text": ""})
                    block["text"] += change
                elif part == "toolUse":
                    blocks[at]["toolUse"]["input"] += change["input"]
                else:
                    block = blocks.setdefault(at, {"reasoningContent": {"reasoningText": {"text": ""}}})
                    thought = block["reasoningContent"]["reasoningText"]
                    for name, piece in change.items():
                        thought[name] = thought.get(name, "") + piece
            elif kind in ("messageStop", "metadata"):
                end.update(value)
        content = [blocks[at] for at in sorted(blocks)]
        for block in content:
            if "toolUse" in block:
                block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
        return content, end

    def after(self, history, answer, calls):
        results = [{"toolResult": {"toolUseId": c["id"], "content": [{"text": RESULT["report"]}]}} for c in calls]
        return [*history, {"role": "assistant", "content": answer}, {"role": "user", "content": results}]

    def hurry(self, history):
        with closing(self.client.converse_stream(modelId=self.model, messages=history)["stream"]) as events:
            return any("metadata" in event for event in events)


class Invoke(Bedrock):
    name = "boto3 invoke"
    model = "anthropic.claude-3-sonnet-20240229-v1:0"
    # Titan's embeddings are no wire that aimock reads: recorded as they are.
    kinds = ("text", "think", "tools", "embed as it is")

    def turn(self, history, tools, stream):
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 999, "messages": history}
        if tools:
            body["tools"] = [TOOL]
        asked = {"modelId": self.model, "body": json.dumps(body)}
        if stream:
            events = self.client.invoke_model_with_response_stream(**asked)["body"]
            message = self.message(json.loads(event["chunk"]["bytes"]) for event in events)
        else:
            message = json.loads(self.client.invoke_model(**asked)["body"].read())
        blocks = message["content"]
        thoughts = [block for block in blocks if block["type"] == "thinking"]
        held = {
            "text": "".join(block.get("text", "") for block in blocks),
            "thinking": "".join(block["thinking"] for block in thoughts) or None,
            "signature": thoughts[0]["signature"] if thoughts else None,
            "calls": [call(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"],
            "finish": message["stop_reason"],
            "usage": message["usage"],
            "model": message["model"],
            "id": message["id"],
        }
        return held, blocks

    def message(self, events):
        message, inputs = {}, {}
        for event in events:
            match event["type"]:
                case "message_start":
                    message = event["message"]
                case "content_block_start":
                    message["content"].append(dict(event["content_block"]))
                case "content_block_delta":
                    block, delta = message["content"][event["index"]], event["delta"]
                    for name in ("text", "thinking", "signature"):
                        if name in delta:
                            block[name] = block.get(name, "") + delta[name]
                    if "partial_json" in delta:
                        inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
                case "message_delta":
                    message.update(event["delta"])
                    message["usage"].update(event["usage"])
        for at, text in inputs.items():
            message["content"][at]["input"] = json.loads(text or "{}")
        return message

    def after(self, history, answer, calls):
        results = [{"type": "tool_result", "tool_use_id": c["id"], "content": RESULT["report"]} for c in calls]
        return [*history, {"role": "assistant", "content": answer}, {"role": "user", "content": results}]

    def embed(self, texts):
        answer = self.client.invoke_model(
            modelId="amazon.titan-embed-text-v2:0", body=json.dumps({"inputText": " and ".join(texts)})
        )
        return json.loads(answer["body"].read())


SDKS = [Converse, Invoke]
