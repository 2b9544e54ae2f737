"""Inputs from which paths start, against the untouched model's own answer to them."""

import json
import warnings

import pytest
import torch
from numpy.testing import assert_allclose
from tests.kit.headed_models import headed
from tests.kit.tiny_tokenizers import byte_level, sentence_piece, word_piece

import lignite
from lignite.blocks.baselines import leap
from lignite.blocks.stack import Stack
from lignite.errors import BaselineWarning, OptionError
from lignite.inputs.roles import TOKEN_BASELINES
from lignite.models.hold import at_rest
from lignite.targets.ask import ask

TEXT = "the plot was thin"
EXACT = {"rtol": 0, "atol": 1e-10}
"""The same pass of the model in float64, on states that were copied; logits are of order one."""
HEADS = {
    "bert": "BertForSequenceClassification",
    "albert": "AlbertForSequenceClassification",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
"""Positions and a norm behind the table; a narrow table; positions behind it; the table alone; a scaled table."""
COARSE = {"n_steps": 1, "tol": 0.99}
"""Displacements do not depend on the nodes."""

pytestmark = pytest.mark.filterwarnings("ignore::lignite.errors.GapWarning")


def model_of(name):
    return headed(name, HEADS[name], tokenizer=word_piece() if "Sequence" in HEADS[name] else sentence_piece())


def inputs_of(model):
    """Ids of the text, and which of them are words."""
    ids = model.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    return ids, torch.tensor([number not in model.tokenizer.all_special_ids for number in ids[0].tolist()])


def answer(model, why, **inputs):
    """The explained logit, from the model as its user runs it."""
    with torch.no_grad():
        logits = model.network(**inputs).logits[0]
    return float((logits if logits.ndim == 1 else logits[-1])[json.loads(why.attrs["target"])["label"]])


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "ig", "occlusion"])
def test_a_token_baseline_is_the_model_s_answer_to_that_token_in_the_place_of_every_word(name, method):
    """Whatever special token the tokenizer has; special tokens of the input stay."""
    model = model_of(name)
    ids, words = inputs_of(model)
    steps = {} if method == "occlusion" else COARSE
    for token in TOKEN_BASELINES:
        number = getattr(model.tokenizer, f"{token}_token_id")
        if number is None:
            continue
        why = lignite.explain(model, TEXT, method=method, baseline=token, **steps)
        if method == "occlusion":
            first = int(words.nonzero()[0, 0])
            found, changed = why.relevance.values[first], torch.arange(len(words)) == first
        else:
            found, changed = why["total_displacement" if method == "ig" else "output_displacement"].values, words

        blank = answer(model, why, input_ids=torch.where(changed, number, ids))
        assert_allclose(found, answer(model, why, input_ids=ids) - blank, err_msg=token, **EXACT)


@pytest.mark.parametrize("name", HEADS)
def test_the_mean_embedding_is_read_in_the_place_of_every_word(name):
    """What the table gives for a word, before positions are added: the mean over all words, special tokens aside."""
    model = model_of(name)
    ids, words = inputs_of(model)
    table = model.network.get_input_embeddings()
    special = set(model.tokenizer.all_special_ids)
    mean = torch.stack([table(torch.tensor(n)) for n in range(len(model.tokenizer)) if n not in special]).mean(0)

    why = lignite.explain(model, TEXT, method="ig", baseline="mean-embedding", **COARSE)

    blank = answer(model, why, inputs_embeds=torch.where(words[:, None], mean, table(ids)).detach())
    assert_allclose(why.total_displacement, answer(model, why, input_ids=ids) - blank, **EXACT)
    assert not table._forward_hooks


def test_rows_behind_the_vocabulary_are_no_words():
    """Tables are filled up to round sizes with rows that were never trained."""
    model = headed("llama", "LlamaForCausalLM", tokenizer=sentence_piece(), vocab_size=len(sentence_piece()) + 7)
    before = lignite.explain(model, TEXT, method="ig", baseline="mean-embedding", target="the", **COARSE)
    with torch.no_grad():
        model.network.get_input_embeddings().weight[-7:] += 100

    after = lignite.explain(model, TEXT, method="ig", baseline="mean-embedding", target="the", **COARSE)

    assert_allclose(after.total_displacement, before.total_displacement, **EXACT)


def test_a_model_that_looks_nothing_up_has_no_mean_embedding():
    """CANINE hashes letters. Under a table that nobody reads the answer would not change, and every score be zero."""
    model = model_of("bert")
    model.network.get_input_embeddings = lambda: torch.nn.Embedding(len(model.tokenizer), 4).double()

    with pytest.raises(OptionError, match=r"does not look its tokens up in a table.*'zero' or 'mean'"):
        lignite.explain(model, TEXT, method="ig", baseline="mean-embedding", **COARSE)


def test_a_token_that_the_tokenizer_lacks_is_refused():
    """GPT-2 has no mask; the message names a baseline that needs no token."""
    model = headed("gpt2", "GPT2LMHeadModel", tokenizer=byte_level(), n_positions=60)

    with pytest.raises(OptionError, match=r"has no mask token.*'mean-embedding' needs no token"):
        lignite.explain(model, "it was thin", baseline="mask")
    lignite.explain(model, "it was thin", baseline="eos", **COARSE)


# Starts that mean little


def test_a_leap_is_what_happens_in_the_first_hundredth_of_the_path():
    """The largest share of F's change, from the untouched model's answers to its embeddings made shorter."""
    model = model_of("llama")
    (row,) = ask(model, TEXT)
    with at_rest(model.network):
        stack = Stack(model, [row])
        found = leap(stack, torch.zeros_like(stack.states[0]))

    whole = model.network.get_input_embeddings()(inputs_of(model)[0])
    with torch.no_grad():
        answers = [
            model.network(inputs_embeds=place * whole).logits[0, -1] for place in (0.0, 0.001, 0.01, 0.1, 0.5, 1.0)
        ]
    moved = [abs(float((answer - answers[0])[row.objective.index])) for answer in answers]
    assert_allclose(found, max(moved[1:3]) / max(moved), rtol=1e-9, atol=0)


@pytest.mark.parametrize("method", ["ca-lig", "relevance-flow", "ig"])
def test_a_path_from_zero_into_a_norm_warns_once(method):
    """Blocks that begin with a norm see no size: nearly all of such a path is the norm's ε."""
    model = model_of("llama")

    with pytest.warns(BaselineWarning, match=r"baseline='zero': .* moves by \d+% of its range.*use baseline='"):
        lignite.explain(model, TEXT, method=method, baseline="zero", **COARSE)

    for other in ("zero", "eos"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", BaselineWarning)
            lignite.explain(model, TEXT, method=method, baseline=other, **COARSE)


def test_a_path_from_zero_into_attention_does_not_warn():
    """Post-norm encoders meet their first norm behind a sum that does not vanish with the states."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", BaselineWarning)
        lignite.explain(model_of("bert"), TEXT, method="ig", baseline="zero", **COARSE)
