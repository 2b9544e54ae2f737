"""Transformers as people write them in plain PyTorch, and as torchvision and timm build theirs; no configuration."""

import torch
import torch.nn.functional as F
from tests.kit.architectures import randomize
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

VOCABULARY, WIDTH, N_HEADS, N_LAYERS, LENGTH = 19, 12, 4, 2, 16
IMAGE, PATCH = (8, 12), 4  # two rows of three patches


def build(kind, *args, seed=0, dtype=torch.float64, **kwargs) -> nn.Module:
    """One of the modules below, in evaluation mode, every weight random."""
    module = kind(*args, **kwargs).to(dtype).eval()
    with torch.no_grad():
        randomize(module, seed=seed, gains={})
    return module


class Attention(nn.Module):
    """Queries, keys and values by one map, as in nanoGPT and timm; `how` says who weighs them."""

    def __init__(self, how: str, *, causal: bool):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.num_heads, self.how, self.causal = N_HEADS, how, causal

    def forward(self, x):
        rows, tokens, width = x.shape
        qkv = self.qkv(x).reshape(rows, tokens, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.how == "fused":
            heads = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        elif self.how == "imported":  # a name of the user's own module
            heads = scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=0.8)
        else:
            scores = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5
            if self.causal:
                scores = scores.masked_fill(torch.ones(tokens, tokens).triu(1).bool(), float("-inf"))
            heads = scores.softmax(-1) @ v
        return self.proj(heads.transpose(1, 2).reshape(rows, tokens, width))


class Block(nn.Module):
    def __init__(self, how: str, *, causal: bool):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = Attention(how, causal=causal)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 20), nn.GELU(), nn.Linear(20, WIDTH))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """A decoder of the user's own; with `last` it answers for the last token alone, as nanoGPT does."""

    def __init__(self, how: str = "fused", *, last: bool = False):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.h = nn.ModuleList(Block(how, causal=True) for _ in range(N_LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.last = last

    def forward(self, idx, targets=None):
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1]))
        for block in self.h:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, [-1]] if self.last else x), None


class EncoderClassifier(nn.Module):
    """A classifier on `nn.TransformerEncoder`; rows come second where it is not `batch_first`."""

    def __init__(self, *, batch_first: bool = True, norm_first: bool = False):
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, N_HEADS, 20, batch_first=batch_first, norm_first=norm_first, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, N_LAYERS, enable_nested_tensor=not norm_first and batch_first)
        self.head = nn.Linear(WIDTH, 4)
        self.batch_first = batch_first

    def forward(self, src, src_key_padding_mask=None):
        places = self.places(torch.arange(src.shape[1 if self.batch_first else 0]))
        x = self.words(src) + (places if self.batch_first else places[:, None])
        x = self.encoder(x, src_key_padding_mask=src_key_padding_mask)
        return self.head(x[:, 0] if self.batch_first else x[0])


class EncoderBlock(nn.Module):
    """As `torchvision.models.vision_transformer.EncoderBlock`."""

    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(WIDTH, N_HEADS, dropout=0.1, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 20), nn.GELU(), nn.Dropout(0.1), nn.Linear(20, WIDTH))

    def forward(self, input):
        x = self.ln_1(input)
        x, _ = self.self_attention(x, x, x, need_weights=False)
        x = self.dropout(x) + input
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    def __init__(self, blocks: list[nn.Module], count: int):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, count, WIDTH).normal_(std=0.02))
        self.layers = nn.Sequential(*blocks)
        self.ln = nn.LayerNorm(WIDTH)

    def forward(self, x):
        return self.ln(self.layers(x + self.pos_embedding))


class VisionTransformer(nn.Module):
    """As torchvision's (a class token, `nn.Sequential` of blocks), or with timm's blocks in their place."""

    def __init__(self, how: str = "torchvision"):
        super().__init__()
        self.image_size = IMAGE
        self.conv_proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        blocks = [EncoderBlock() if how == "torchvision" else Block(how, causal=False) for _ in range(N_LAYERS)]
        self.encoder = Encoder(blocks, 7)
        self.heads = nn.Sequential(nn.Linear(WIDTH, 5))

    def forward(self, x):
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        return self.heads(self.encoder(x)[:, 0])
