"""What a tensor of a network is for, by its name: only weights go onto a chip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hwloop.mapping.tensors import Role, Tensor

LOOKUP = re.compile(
    r"^(wte|wpe|wtt|shared|lut|lookup|codebooks?|\w*factors|(user|item|word|vocab|token|entity|relation)s?|(\w*_)?emb(ed(der|dings?)?s?)?(_\w+|\d*)|\w*embeddings?(_\w+|\d*))$",
    re.I,
)
"""What look-up tables are called."""
NO_LOOKUP = re.compile(r"^(embed_out|emb_out|embed_proj|emb_proj|\w*embed\w*_proj)$", re.I)
"""What sounds like a look-up table and is a linear layer."""
TABLE = re.compile(
    r"^(pos(ition(al)?)?_?(emb|enc)\w*|cls_token|class_token|mask_token|\w*_tokens?|query_embed\w*|\w*bias_table)$"
)
"""Parameters that are added to activations."""
BIAS = re.compile(r"^(\w*_)?bias(es)?(_\w+|\d*)$|^b\d*$|^b_\w+$|\w+_b\d*$")
"""What biases are called."""
LETTER = re.compile(r"^b(\d*|_.*)$")
"""What may be the bias of a layer or the second of some matrices."""
NORM = re.compile(
    r"^(bn|ln|gn|norm|layer_?norm|batch_?norm\w*|rms_?norm|group_?norm|instance_?norm)(_?\w{0,3})$|_(layer)?norm\d*$|_ln$|_bn$",
    re.I,
)
"""What layers are called that normalise."""
NORM_PARAMETER = re.compile(r"^(gamma|beta|running_\w+|moving_\w+|num_batches_tracked|layer_?scale\w*|ls\d)$")
"""What parameters of normalisation are called."""
BUFFER = re.compile(
    r"^(\w*mask\w*|tril|triu|causal\w*|inv_freq|freqs\w*|(cos|sin)\w*|rotary\w*|pe|\w*position_(ids|index)|\w*_(index|ids|idx)|"
    r"noise_\w+|\w*_noise|\w*(epsilon|sigma)|means?|covs?|covariances?|anchors?|anchor_grid|grid|strides?|mean|std|\w*zeros?(_point)?s?|\w*scales?(_inv)?|absmax|quant_\w+|steps?|window|mel\w*|fb|"
    r"filterbanks?|(min|max)_val|exp_avg\w*|momentum_buffer|square_avg|confusion\w*|cm|history|loss(es)?|\w*_loss(es)?|"
    r"acc(uracy)?|metrics?|images?|labels?|targets?|features|data|inputs?|outputs?|samples?|activations?|"
    r"[xyXY](_?(train|test|val|valid)\w*)?|(train|test|val)_\w+|(class|pos|sample|loss)_weights?|_[uv]|weight_[uv])$"
)
"""What holds no parameter of a layer."""
WEIGHT = re.compile(
    r"^(weights?|kernel|w|W)(_?\d+)?$|^weight_(ih|hh|hr)\w*$|^(W|w)_\w+$|\w+_(weights?|kernel|w|W)$|^lora_\w+$|"
    r"^(fc|linear|lin|conv|dense|layer)(_?\d+)?$"
)
"""What weights are called."""
COPIES = re.compile(
    r"^(ema|swa|avg|averaged?|shadow|fisher|grads?|momentum|teacher|init(ial)?|old|prev(ious)?|backup)(_\w+)?$", re.I
)
"""What stands before the names of a network's tensors where they are repeated."""
STEMS = (("weights", "biases"), ("weight", "bias"), ("kernel", "bias"), ("W", "b"), ("w", "b"))
"""What weights and their biases are called in pairs."""


def role_of(tensor: Tensor, biased: bool) -> Role:
    """Tell what a tensor is for by its name and its kind of numbers.

    Parameters
    ----------
    tensor
        The tensor.
    biased
        Whether it has a bias, as look-up tables do not.
    """
    *before, last = parts_of(tensor.key)
    layer = next((part for part in reversed(before) if not part.isdigit() and part not in ("weight", "default")), "")
    if (BIAS.search(last) and not (LETTER.search(last) and min(tensor.shape, default=1) > 1)) or TABLE.search(last):
        return Role.EMBEDDING if TABLE.search(last) else Role.BIAS
    if NORM_PARAMETER.search(last) or (before and NORM.search(before[-1])):
        return Role.NORM
    if BUFFER.search(last) or any(part.endswith(("fake_quant", "post_process", "criterion")) for part in before):
        return Role.BUFFER
    if tensor.number == "integer":
        return Role.INTEGER
    looks_up = LOOKUP.search(last) or (before and LOOKUP.search(before[-1]) and not NO_LOOKUP.search(before[-1]))
    if (looks_up or layer.endswith("attention_bias")) and tensor.ndim == 2 and not biased:
        return Role.EMBEDDING
    return Role.WEIGHT if WEIGHT.search(last) else Role.OTHER


def is_copy(tensor: Tensor, by_name: Mapping[str, Tensor]) -> bool:
    """Tell whether a tensor repeats another of the network: an average, a gradient, what it was before."""
    prefix, _, rest = tensor.key.partition(".")
    other = by_name.get(rest)
    return other is not None and other.shape == tensor.shape and bool(COPIES.search(prefix))


def parts_of(name: str) -> list[str]:
    """Split the name of a tensor at what separates the parts of a network."""
    return re.split(r"[./:]+", name.removesuffix(":0"))


def bias_names(name: str) -> Iterator[str]:
    """Give the names that the bias of a weight may have."""
    head = name[: len(name) - len(name.removesuffix(":0"))] and ":0"
    body = name.removesuffix(":0")
    cut = max(body.rfind("."), body.rfind("/")) + 1
    stem, last = body[:cut], body[cut:]
    for weight, bias in STEMS:
        for match in re.finditer(rf"(?<![A-Za-z]){weight}(?![A-Za-z])", last):
            yield f"{stem}{last[: match.start()]}{bias}{last[match.end() :]}{head}"
    yield from (f"{body}{ending}" for ending in ("_bias", "_b", "b"))
    if last in ("depthwise_kernel", "pointwise_kernel"):
        yield f"{stem}bias{head}"
    if (numbered := re.fullmatch(r"((?:.*\D)?)(\d+)", body)) and not stem:
        yield f"{numbered[1]}{int(numbered[2]) + 1}"


def bias_of(tensor: Tensor, by_name: Mapping[str, Tensor]) -> Tensor | None:
    """Find the bias of a weight: by its name, a vector, or a matrix of one row or column, as some keep it."""
    for name in bias_names(tensor.key):
        found = by_name.get(name)
        if found is not None and found is not tensor and (found.ndim == 1 or (found.ndim == 2 and 1 in found.shape)):
            return found
    return None


def natural(name: str) -> list[tuple[int, str]]:
    """Make a key that sorts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
