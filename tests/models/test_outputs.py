"""Whatever a model returns, and whatever is asked of it: each input gets what the model itself says of it alone."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from tests.kit.architectures import randomize
from tests.kit.headed_models import headed
from tests.kit.methods import those_of
from tests.kit.tiny_tokenizers import word_piece
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BertPreTrainedModel

import lignite
from lignite.blocks.attention import attention_function
from lignite.errors import InputError, LigniteError, ModelError, OptionError
from lignite.targets.ask import ask, predict
from lignite.targets.edits import remove_tokens
from lignite.targets.rows import bytes_per_token

TEXTS = ["the plot was thin", "people", "nothing at all but acting it says", "thin was the plot"]
"""Three lengths, in no order, one of them twice."""

SINGLE = {"rtol": 0, "atol": 1e-5}
"""Float32 sums in another order, of numbers of order one."""

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40,
}  # fmt: skip


def made(kind: type[BertPreTrainedModel], **config: Any) -> lignite.Model:
    tokenizer = word_piece()
    network = kind(BertConfig(vocab_size=len(tokenizer), **{**SMALL, **config}))
    randomize(network, seed=0, gains={})
    return lignite.wrap(network.eval(), tokenizer)


@pytest.fixture(scope="module")
def encoder() -> lignite.Model:
    return made(BertModel, attn_implementation="eager", output_hidden_states=True, output_attentions=True)


def own(model: lignite.Model, text: str) -> Any:
    """What the untouched model returns for one text."""
    with torch.no_grad():
        return model.network(**model.tokenizer(text, return_tensors="pt"))


POOLED = {
    "mean": lambda outputs: outputs.last_hidden_state.mean(1)[:, 0],
    "largest": lambda outputs: outputs.last_hidden_state.amax(1)[:, 1],
    "last token": lambda outputs: outputs.last_hidden_state[:, -1, 2],
    "length": lambda outputs: outputs[0].norm(dim=(1, 2)) / outputs[0].shape[1],
    "middle layer": lambda outputs: outputs.hidden_states[1].mean((1, 2)),
    "attention": lambda outputs: outputs.attentions[1][:, 0, :, -1].sum(1),
    "one number": lambda outputs: outputs.last_hidden_state[0, -1, 0],
    "beside other rows": lambda outputs: outputs.pooler_output[:, 0] / len(outputs.pooler_output),
}


@pytest.mark.parametrize("name", POOLED)
def test_a_function_of_the_output_sees_each_text_as_if_it_were_alone(encoder, name):
    """Pooling that does not look at the mask would average over padding, or read the last of it."""
    function = POOLED[name]
    rows = ask(encoder, TEXTS, function)

    together = predict(encoder, rows).value

    expected = [float(function(own(encoder, text))) for text in TEXTS]
    assert_allclose(together, expected, **SINGLE)


@pytest.mark.parametrize("method", ["ca-lig", "occlusion", "attention-rollout"])
def test_a_list_is_explained_as_a_loop_would(encoder, method):
    """Scores of a function of pooled states, by methods that look inside and by one that only asks."""
    options = {"target": POOLED["mean"], "method": method, **those_of(method, baseline="mask", tol=0.1)}

    together = lignite.explain(encoder, TEXTS[:2], **options)

    for text, found in zip(TEXTS[:2], together, strict=True):
        alone = lignite.explain(encoder, text, **options)
        assert_allclose(found.attrs["value"], float(POOLED["mean"](own(encoder, text))), **SINGLE)
        assert_allclose(found.relevance, alone.relevance, **SINGLE)


class Headed(BertPreTrainedModel):
    """A user's own head on an encoder."""

    def __init__(self, config: BertConfig):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.classifier(self.bert(ids, attention_mask=mask).last_hidden_state[:, 0])


class Bare(Headed):
    def forward(self, input_ids=None, attention_mask=None):
        return self.logits(input_ids, attention_mask)


class InTuple(Headed):
    def forward(self, input_ids=None, attention_mask=None, return_dict=None):
        return self.logits(input_ids, attention_mask), input_ids


class InDictionary(Headed):
    def forward(self, input_ids=None, attention_mask=None, **_):
        return {"size": 1.0, "logits": self.logits(input_ids, attention_mask)}


class InObject(Headed):
    def forward(self, input_ids=None, attention_mask=None):
        return SimpleNamespace(logits=self.logits(input_ids, attention_mask))


FORWARDS = {
    Bare: lambda outputs: outputs[:, 1],
    InTuple: lambda outputs: outputs[0][:, 1],
    InDictionary: lambda outputs: outputs["logits"][:, 1],
    InObject: lambda outputs: outputs.logits[:, 1],
}


@pytest.mark.parametrize("kind", FORWARDS)
def test_a_forward_may_return_its_logits_in_any_way(kind):
    """Named, first in a tuple, or alone; a function of the output is given what the forward returned."""
    model, function = made(kind), FORWARDS[kind]
    expected = [float(function(own_of(model, text)).detach()) for text in TEXTS]

    for target in (1, function):
        found = lignite.explain(model, TEXTS, target=target, method="gradient-x-input")
        assert_allclose([each.attrs["value"] for each in found], expected, **SINGLE)


def own_of(model: lignite.Model, text: str) -> Any:
    tensors = model.tokenizer(text, return_tensors="pt")
    return model.network(input_ids=tensors["input_ids"], attention_mask=tensors["attention_mask"])


class Nameless(Headed):
    def forward(self, input_ids=None, attention_mask=None):
        return self.bert(input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]


class OfOneThing(Headed):
    def forward(self, x):
        return self.logits(x["input_ids"], x["attention_mask"])


class Scalar(Headed):
    def forward(self, input_ids=None, attention_mask=None):
        return {"logits": self.logits(input_ids, attention_mask)[:, 0]}


class Failing(Headed):
    def forward(self, input_ids=None, attention_mask=None):
        return input_ids.reshape(7, -1, 7)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Nameless, r"a tensor of shape \(1, 16\).* nothing says that these are logits .config.num_labels is 2"),
        (OfOneThing, r"cannot be called .*missing 1 required positional argument: 'x'.*A forward must take input_ids"),
        (Scalar, r"logits of shape \(1,\) for one input"),
        (Failing, r"Failing fails on this input \(RuntimeError: shape"),
    ],
)
@pytest.mark.parametrize("method", ["ca-lig", "occlusion"])
def test_a_forward_that_cannot_be_asked_is_refused_in_one_line(kind, message, method):
    """The line says what a forward must take and return; an error of the model's own is never passed on raw."""
    model = made(kind)

    with pytest.raises(ModelError, match=message) as raised:
        lignite.explain(model, TEXTS[0], method=method)

    assert "\n" not in str(raised.value)


def test_a_function_that_fails_is_named_with_what_it_was_given():
    """Its error stays behind the one line."""
    model = made(InTuple)

    with pytest.raises(OptionError, match=r"function failed .*AttributeError: .*the output for one input, a tuple"):
        lignite.explain(model, TEXTS, target=lambda outputs: outputs.logits[:, 0])


class Noisy(Headed):
    """Forgets to tell its dropout that it is not being trained."""

    def forward(self, input_ids=None, attention_mask=None):
        return {"logits": nn.functional.dropout(self.logits(input_ids, attention_mask), 0.4)}


@pytest.mark.parametrize("method", ["ca-lig", "gradient-x-input", "occlusion", "random"])
@pytest.mark.parametrize("inputs", [TEXTS[0], TEXTS])
def test_a_model_that_does_not_repeat_itself_is_refused(method, inputs):
    """What it says by chance has no explanation, whatever the method."""
    torch.manual_seed(1)

    with pytest.raises(ModelError, match=r"does not repeat itself: .*random even in evaluation mode, such as dropout"):
        lignite.explain(made(Noisy, num_labels=8), inputs, method=method, target=1)


class NoisyBeside(Headed):
    """Says the second label as it is, and the first by chance."""

    def forward(self, input_ids=None, attention_mask=None):
        logits = self.logits(input_ids, attention_mask)
        return {"logits": torch.cat([logits[:, :1] + torch.rand(()), logits[:, 1:]], 1)}


class NoisyLater(Headed):
    """Says the same until its blocks are replayed, as dropout on a single logit may, and then another thing."""

    def forward(self, input_ids=None, attention_mask=None):
        self.config.asked = getattr(self.config, "asked", 0) + 1
        return {"logits": self.logits(input_ids, attention_mask) + (self.config.asked > 3) * torch.rand(())}


@pytest.mark.parametrize(("kind", "method"), [(NoisyBeside, "ca-lig"), (NoisyBeside, "random"), (NoisyLater, "ca-lig")])
def test_chance_is_named_where_the_answer_is_twice_the_same(kind, method):
    """Neither one number that agrees hides it, nor is it taken for states that do not carry the answer."""
    torch.manual_seed(1)

    with pytest.raises(ModelError, match=r"does not repeat itself: .*such as dropout"):
        lignite.explain(made(kind, num_labels=2), TEXTS[0], method=method, target=1)


class Detecting(Headed):
    """Answers at places of its own, as object detectors do."""

    def forward(self, input_ids=None, attention_mask=None):
        states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        return {"logits": self.classifier(states[:, :2])}


@pytest.mark.parametrize("token", [0, 1, 3, -1, None])
def test_a_token_is_never_another_one_of_the_answers_own(token):
    """Number 1 among two queries is not number 1 among six tokens."""
    with pytest.raises(OptionError, match="answers at 2 places of its own, not at the 6 tokens of its input"):
        lignite.explain(made(Detecting), TEXTS[0], target=lignite.Target(token=token, label=1))


@pytest.fixture(scope="module")
def layout() -> lignite.Model:
    return headed("bert", "LayoutLMForSequenceClassification", dtype=torch.float32, max_2d_position_embeddings=50)


def document(model: lignite.Model, text: str, seed: int) -> dict[str, Tensor]:
    tensors = dict(model.tokenizer(text, return_tensors="pt"))
    corner = torch.randint(0, 25, (1, tensors["input_ids"].shape[1], 2), generator=torch.Generator().manual_seed(seed))
    return {**tensors, "bbox": torch.cat([corner, corner + 20], dim=-1)}


def test_boxes_of_tokens_are_padded_with_them(layout):
    """Documents of several lengths in one list: whatever has one entry per token goes with it."""
    documents = [document(layout, text, seed) for seed, text in enumerate(TEXTS)]

    found = lignite.explain(layout, documents, target=1, method="gradient-x-input")

    with torch.no_grad():
        expected = [float(layout.network(**each).logits[0, 1]) for each in documents]
    assert_allclose([each.attrs["value"] for each in found], expected, **SINGLE)


def test_a_removed_token_takes_its_box_with_it(layout):
    """Otherwise every later word would stand in its neighbour's place on the page."""
    tensors = document(layout, TEXTS[0], 3)
    (row,) = ask(layout, tensors, 1)

    answer = predict(layout, [remove_tokens(row, [2])]).value

    kept = [place for place in range(row.n_tokens) if place != 2]
    with torch.no_grad():
        expected = layout.network(**{name: tensor[:, kept] for name, tensor in tensors.items()}).logits[0, 1]
    assert_allclose(answer, expected, **SINGLE)


def test_memory_is_counted_where_layers_differ_in_size():
    """A configuration may hold one size per layer; the largest is what a layer can take."""
    one, several = made(Bare), made(Bare)
    several.config.__dict__["intermediate_size"] = [16, 32]

    assert bytes_per_token(several, gradient=True) == bytes_per_token(one, gradient=True)


def test_attention_is_returned_as_blocks_expect_it():
    """Transformers' own functions return contiguous tensors, and some blocks look at them through `view`."""
    query, key, value = torch.randn(3, 1, 2, 5, 4).unbind(0)

    heads, _ = attention_function(nn.Module(), query, key, value, None)

    assert heads.shape == (1, 5, 2, 4)
    assert heads.is_contiguous()


def test_attention_of_another_shape_is_refused_by_what_needs_it_alone():
    """YOSO returns no weights of every token by every token; layer-wise integrated gradients do not ask for them."""
    tokenizer = word_piece()
    network = transformers.YosoForSequenceClassification(transformers.YosoConfig(vocab_size=len(tokenizer), **SMALL))
    randomize(network, seed=0, gains={})
    model = lignite.wrap(network.eval(), tokenizer)

    found = lignite.explain(model, TEXTS[0], target=1, tol=0.9)

    assert np.isfinite(found.relevance).all()
    for method in ("attention-rollout", "attention-last", "attention-x-gradient"):
        with pytest.raises(LigniteError, match="shows no attention weights"):
            lignite.explain(model, TEXTS[0], target=1, method=method)


def test_a_mask_that_hides_nothing_is_left_out_where_none_is_taken():
    """FNet mixes all tokens and takes no mask; one that hides a token is refused."""
    tokenizer = word_piece()
    sizes = {name: size for name, size in SMALL.items() if name != "num_attention_heads"}
    network = transformers.FNetForSequenceClassification(transformers.FNetConfig(vocab_size=len(tokenizer), **sizes))
    randomize(network, seed=0, gains={})
    model, tensors = lignite.wrap(network.eval(), tokenizer), dict(tokenizer(TEXTS[0], return_tensors="pt"))

    (row,) = ask(model, tensors, 1)

    with torch.no_grad():
        assert_allclose(predict(model, [row]).value, network(tensors["input_ids"]).logits[0, 1], **SINGLE)
    tensors["attention_mask"][0, -1] = 0
    with pytest.raises(InputError, match="takes no 'attention_mask'"):
        ask(model, tensors, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_ids": torch.ones(2, 5, dtype=torch.long), "pixel_values": torch.ones(1, 3, 8, 8)},
         "a text and an image at once; lignite explains one input at a time"),
        ({"input_ids": torch.ones(1, 2, 5, dtype=torch.long)}, "several texts per example, as multiple choice"),
    ],
)  # fmt: skip
def test_several_inputs_at_once_are_refused_with_a_way_around(given, message):
    """Which of them is asked about cannot be told; the message says how one is held."""
    model = made(InDictionary)
    model.network.forward = lambda input_ids=None, pixel_values=None, **_: None

    with pytest.raises(InputError, match=message):
        lignite.explain(model, given, target=1)


class NoisyInside(InDictionary):
    """Random in its embeddings, or in a block."""

    def __init__(self, config: BertConfig):
        super().__init__(config)
        part = self.bert.embeddings if config.num_labels == 3 else self.bert.encoder.layer[1].output
        part.register_forward_hook(lambda *found: nn.functional.dropout(found[-1], 0.3))


@pytest.mark.parametrize("n_labels", [3, 4], ids=["in the embeddings", "in a block"])
def test_flow_through_a_model_that_does_not_repeat_itself_is_refused(n_labels):
    """States that are drawn anew have no flow; the cause is named, not what of it was noticed first."""
    torch.manual_seed(2)

    with pytest.raises(ModelError, match=r"does not repeat itself: .*its states differ"):
        lignite.flow(made(NoisyInside, num_labels=n_labels), TEXTS[0], maps="whole", n_steps=2)
