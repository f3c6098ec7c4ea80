"""Asks what nobody answers, through clients whose retries are on, as they are made.

Usage: one_miss.py URL
"""

import sys

import anthropic
import openai
from sdk import KEY

ASKED = [{"role": "user", "content": "never recorded"}]


def main(url):
    chatgpt = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
    claude = anthropic.Anthropic(base_url=url, api_key=KEY)
    for api, error, asked in [
        (chatgpt.chat.completions, openai.InternalServerError, {"messages": ASKED}),
        (chatgpt.responses, openai.InternalServerError, {"input": ASKED}),
        (claude.messages, anthropic.InternalServerError, {"messages": ASKED, "max_tokens": 9}),
    ]:
        try:
            api.create(model="m", **asked)
        except error:
            continue
        sys.exit(f"{type(api).__name__} was answered")


if __name__ == "__main__":
    main(sys.argv[1])
