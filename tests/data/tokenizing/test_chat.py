"""Chat templates say what Transformers makes them say, and cannot do harm."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dougong.data.tokenizing import Tokenizer
from dougong.errors import UserError

CALLS = [{"name": "f", "arguments": {"x": 1.5, "y": "ä<"}}]
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief. <b>&</b>"},
    {"role": "user", "content": "你好 'there'\n👋", "name": None},
    {"role": "assistant", "content": "Hi!", "reasoning": "they greet", "tool_calls": CALLS},
    {"role": "user", "content": "And 2+2?"},
]  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "ü": True}}}]

# Written for this test, with what the published ones use: trimmed blocks, namespaces, loop controls, macros, filters.
TEMPLATES = {
    "llama2": """{% if messages[0]['role'] == 'system' %}
{% set rest = messages[1:] %}{% set start = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}
{% else %}{% set rest = messages %}{% set start = '' %}{% endif %}
{{- bos_token }}
{%- for message in rest %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate') }}{% endif %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + (start if loop.first else '') + message['content'].strip() + ' [/INST]' }}
    {%- else %}{{ ' ' ~ message['content'] ~ ' ' ~ eos_token }}{% endif %}
{%- endfor %}""",
    "chatml": """{%- macro turn(role, text) -%}
<|im_start|>{{ role }}
{{ text | trim }}<|im_end|>
{% endmacro %}
{%- set ns = namespace(last=0, seen=[]) %}
{%- for message in messages %}
  {%- if message.role == 'system' and not loop.first %}{% continue %}{% endif %}
  {%- set ns.last = loop.index0 %}
  {%- if message.role == 'assistant' %}{% generation %}{{ turn(message.role, message.content) }}{% endgeneration %}
    {%- if message.reasoning_content %}<think>{{ message.thinking }}</think>{% endif %}
    {%- for call in message.tool_calls or [] %}{{ call | tojson }}{{ call.arguments | tojson(indent=2) }}{% endfor %}
  {%- else %}{{ turn(message['role'], message['content']) }}{% endif %}
  {%- if message.name is defined %}NAME{% endif %}
  {%- if loop.index > 40 %}{% break %}{% endif %}
{%- endfor %}
{{ ns.last }} of {{ messages | length }}; {{ messages | map(attribute='role') | list }} {{ range(3) | join(',') }}
{%- for key, value in dict(a=1, b='x').items() %} {{ key }}={{ value }}{{ loop.last }}{{ loop.length }}{% endfor %}
{% if tools %}{{ tools | tojson }}{% for tool in tools %}{{ tool.function.name }}{% endfor %}{% endif %}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}{{ extra | default('none') }} {{ documents is none }} {{ pad_token is defined }}""",
}  # fmt: skip


@pytest.fixture
def folder(layouts: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(layouts / "llama", tmp_path / "chat"))


def put(folder: Path, template: Any) -> Tokenizer:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    return Tokenizer.open(folder)


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("name", TEMPLATES)
def test_as_transformers(name: str, prompt: bool, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = put(folder, TEMPLATES[name])
    other = AutoTokenizer.from_pretrained(folder)
    for messages in (MESSAGES, MESSAGES[1:], MESSAGES[1:2]):
        for more in ({}, {"tools": TOOLS}, {"extra": "E", "bos_token": "B"}):
            expected = other.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt, **more)
            text = tokenizer.chat(messages, add_generation_prompt=prompt, **more)
            assert text == expected
            ids = other.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False, **more)
            assert tokenizer.encode(text, special=False).ids == ids
    assert tokenizer.chat(MESSAGES) != tokenizer.chat(MESSAGES[1:])


def test_templates_by_name_and_from_files(folder: Path) -> None:
    tokenizer = put(
        folder, [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T{{ tools[0].type }}"}]
    )
    assert tokenizer.chat(MESSAGES) == "D" and tokenizer.chat(MESSAGES, tools=TOOLS) == "Tfunction"
    assert tokenizer.chat(MESSAGES, template="tool_use", tools=TOOLS) == "Tfunction"
    with pytest.raises(UserError, match="unknown chat template 'tool_usage'; did you mean 'tool_use'"):
        tokenizer.chat(MESSAGES, template="tool_usage")
    (folder / "chat_template.jinja").write_text("from the file\n\n")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("R")
    tokenizer = Tokenizer.open(folder)
    assert tokenizer.templates == {"default": "from the file\n\n", "rag": "R"}
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%Y') }}")
    assert re.fullmatch(r"20\d\d", Tokenizer.open(folder).chat(MESSAGES))


HARMFUL = {
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__.os }}",
    "imports": "{{ cycler.__init__.__globals__.os.popen('touch /tmp/owned').read() }}",
    "namespace": "{% set n = namespace(__class__=1) %}x",
    "changes": "{{ messages.append(1) }}",
    "rounds": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "rounds hidden": "{% set l = range(9999)|list %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}",
    "doubling": "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "repeating": "{{ 'a' * 10 ** 9 }}",
    "power": "{{ 9 ** 99999 }}",
    "width": "{{ '%999999999d' % 1 }}",
    "format": "{{ '{:999999999}'.format(1) }}",
    "padding": "{{ 'a'.ljust(999999999) }}",
    "long": "{% for a in range(99999) %}{{ 'abcdefgh' * 99 }}{% endfor %}",
    "file": "{% include '/etc/passwd' %}",
    "endless": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "syntax": "{% for a in %}",
    "nothing": "{{ messages[99].content.x }}",
    "divided": "{{ 1 / 0 }}",
}


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_and_broken_templates(name: str, folder: Path) -> None:
    tokenizer = put(folder, HARMFUL[name])
    with pytest.raises(UserError) as caught:
        tokenizer.chat(MESSAGES)
    assert "\n" not in str(caught.value) and "chat template 'default'" in str(caught.value)
    assert not Path("/tmp/owned").exists()


def test_refusals_are_told(folder: Path) -> None:
    tokenizer = put(folder, TEMPLATES["llama2"])
    with pytest.raises(UserError, match="refuses these messages: roles must alternate"):
        tokenizer.chat([MESSAGES[2]])
    for messages in ([], "hello", ["hello"]):
        with pytest.raises(UserError, match="message"):
            tokenizer.chat(messages)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no chat template"):
        put(folder, None).chat(MESSAGES)
    for wrong in (3, [{"name": "a"}], {"a": 1}):
        with pytest.raises(UserError, match="chat_template is neither"):
            put(folder, wrong)


def test_objects_are_out_of_reach(folder: Path) -> None:
    """What is not plain data is replaced by the name of its type: its methods cannot be called."""

    class Picture:
        def write(self) -> str:
            raise AssertionError("called")

    tokenizer = put(folder, "{{ messages[0].content[0].image }}{{ messages[0].content[0].image.write is defined }}")
    assert tokenizer.chat([{"role": "user", "content": [{"image": Picture()}]}]) == "<Picture>False"
