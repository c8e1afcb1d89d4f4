"""Chat templates as strangers' models carry them: rendered, or an error of the engine's."""

from datetime import datetime

import jinja2
import pytest

from poem.prompt import Prompt
from poem_service.engine.template import ChatTemplate
from poem_service.errors import EngineError

PROMPT = Prompt("決まり", "五枚の札")
PLAIN = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<model>"
GEMMA_2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
ADDS = "{% for m in messages %}{{ m['content'] + 1 if m['role'] == 'system' else m['content'] }}{% endfor %}"
FORGETFUL = "{% for m in messages %}{% if m['role'] == 'user' %}[{{ m['content'] }}]{% endif %}{% endfor %}"
BREAKS = "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'user' %}{% break %}{% endif %}{% endfor %}"
GENERATION = (
    PLAIN + "{% for m in messages if m['role'] == 'assistant' %}{% generation %}x{% endgeneration %}{% endfor %}"
)
DATED = "{{ strftime_now('%Y') }} " + PLAIN
JSON = "{{ messages[0] | tojson }}" + PLAIN


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (PLAIN, "<system>決まり<user>五枚の札<model>"),
        (
            GEMMA_2,
            "<bos><start_of_turn>user\n決まり\n\n五枚の札<end_of_turn>\n<start_of_turn>model\n",
        ),
        (ADDS, "決まり\n\n五枚の札"),
        (FORGETFUL, "[決まり\n\n五枚の札]"),
        (BREAKS, "決まり五枚の札"),
        (GENERATION, "<system>決まり<user>五枚の札<model>"),
        (DATED, f"{datetime.now().year} <system>決まり<user>五枚の札<model>"),
        (JSON, '{"role": "system", "content": "決まり"}<system>決まり<user>五枚の札<model>'),
    ],
)
def test_a_template_is_rendered_as_its_model_was_trained(template: str, text: str) -> None:
    assert ChatTemplate(template).render(PROMPT, bos_token="<bos>", eos_token="<eos>") == text


def test_a_template_that_refuses_everything_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="chat template: no"):
        ChatTemplate("{{ raise_exception('no') }}").render(PROMPT)


def test_a_template_gets_no_further_than_its_text() -> None:
    with pytest.raises(EngineError, match="unsafe"):
        ChatTemplate("{{ messages.__class__.__mro__[1].__subclasses__() }}").render(PROMPT)


def test_what_is_no_template_is_said_so() -> None:
    with pytest.raises(jinja2.TemplateError):
        ChatTemplate("{% if %}")
