"""Networks that were trained elsewhere, in the form that Hugging Face publishes.

A model is described by its configuration, which a state keeps, so that a saved model is built
without the folder or the hub; its weights are read once, before training, from safetensors alone.
No code comes with a model: neither its own modules nor pickled ones are ever run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, final

import torch
from torch import Tensor, nn

from thalweg.core.errors import OptionError

Learns = Literal["frozen", "last", "whole"]
Pooling = Literal["mean", "cls"]

RATE: Final = 0.02
"""The share of the learning rate at which weights learn that know something already."""

LAST: Final = 2
"""How many layers ``last`` means."""

_MEND: Final = "Name a folder with config.json and model.safetensors, or a model on the hub."


def describe(model: str) -> str:
    """Read a model's configuration.

    Parameters
    ----------
    model
        A folder, or a name on the hub.

    Returns
    -------
    str
        The configuration as JSON.

    Raises
    ------
    OptionError
        Where there is no such model, or the library is not installed.
    """
    transformers = _library()
    try:
        found = transformers.AutoConfig.from_pretrained(
            _place(model, "config.json").parent, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise OptionError(
            f"the model {model!r} cannot be read: {_first_line(error)}",
            "a model that transformers knows without code of its own",
            _MEND,
        ) from None
    return json.dumps(found.to_dict(), sort_keys=True, default=str)


def tokenizer_of(model: str) -> str:
    """Read a model's tokenizer, as JSON of the ``tokenizers`` library.

    Raises
    ------
    OptionError
        Where there is none.
    """
    return _place(model, "tokenizer.json").read_text(encoding="utf-8")


@final
class Pretrained(nn.Module):
    """A model built from its configuration, whose answer for a row is one vector.

    Parameters
    ----------
    config
        As `describe` gives it.
    learns
        ``frozen``: nothing of it; ``last``: its last two layers; ``whole``: all of it. What learns
        does so slowly, see `RATE`.
    pooling
        ``mean`` over all places, or the first one (``cls``).
    """

    def __init__(self, config: str, learns: Learns = "frozen", pooling: Pooling = "mean") -> None:
        super().__init__()
        transformers = _library()
        facts: dict[str, Any] = json.loads(config)
        known = transformers.AutoConfig.for_model(facts.pop("model_type"), **facts)
        self.model = _trunk(
            transformers.AutoModel.from_config(known, attn_implementation="eager")
        ).float()
        self.padding = int(getattr(known, "pad_token_id", None) or 0)
        self.width = _width(known)
        self._pooling = pooling
        self._learning = _learning(self.model, learns)
        self.model.requires_grad_(requires_grad=False)
        for module in self._learning:
            for parameter in module.parameters():
                parameter.requires_grad_()
                parameter.rate = RATE  # type: ignore[attr-defined] # the optimiser's
        self.train()

    def forward(self, inputs: Mapping[str, Tensor], mask: Tensor | None = None) -> Tensor:
        """Give float32 [N, width].

        Parameters
        ----------
        inputs
            What the model takes, by name: ``input_ids`` and ``attention_mask``, ``pixel_values``
            or ``input_values``.
        mask
            Bool [N, places]: which places count in the mean; all by default.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and bool(self._learning)):
            said: Tensor = self.model(**inputs).last_hidden_state
            if said.ndim == 4:  # a map of channels [N, width, high, wide]
                said = said.flatten(2).transpose(1, 2)
            if self._pooling == "cls":
                return said[:, 0].float()
            if mask is None or mask.shape[1] != said.shape[1]:
                return said.float().mean(dim=1)
            weight = mask.unsqueeze(-1).float()
            return (said * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)

    def train(self, mode: bool = True) -> Pretrained:  # noqa: FBT001, FBT002 - torch's own
        """Let only what learns train: the rest never drops a unit."""
        super().train(mode)
        self.model.eval()
        for module in self._learning:
            module.train(mode)
        return self

    def load(self, model: str) -> None:
        """Read the weights from a folder or the hub, from safetensors alone.

        Raises
        ------
        OptionError
            Where they are not there, or are not this model's.
        """
        transformers = _library()
        folder = _place(model, "config.json").parent
        _place(model, "model.safetensors")
        try:
            found = transformers.AutoModel.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
            )
            self.model.load_state_dict(_trunk(found).state_dict())
        except (OSError, ValueError, RuntimeError) as error:
            raise OptionError(
                f"the weights of {model!r} cannot be read: {_first_line(error)}",
                "weights that fit its config.json",
                _MEND,
            ) from None


def _library() -> Any:
    """Import transformers, quietly."""
    try:
        import transformers
    except ImportError:
        raise OptionError(
            "a pretrained model is asked for, and transformers is not installed",
            "the libraries that read such models",
            "pip install 'thalweg[pretrained]'",
        ) from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _place(model: str, name: str) -> Path:
    """Find a model's file: in the folder, among what was fetched before, or on the hub."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        if (folder / name).is_file():
            return folder / name
        raise OptionError(f"the folder {model!r} has no {name}", "a Hugging Face model", _MEND)
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        fetched = try_to_load_from_cache(model, name)
        return Path(fetched if isinstance(fetched, str) else hf_hub_download(model, name))
    except ImportError:
        reason = "huggingface_hub is not installed"
    except (OSError, ValueError) as error:
        reason = _first_line(error)
    raise OptionError(
        f"the model {model!r} is no folder, and the hub does not give its {name}: {reason}",
        "a folder or a model's name",
        _MEND,
    )


def _trunk(model: nn.Module) -> nn.Module:
    """Leave out what the answer does not need: a decoder, a pooling layer."""
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()  # type: ignore[operator]
    if isinstance(getattr(model, "pooler", None), nn.Module):
        model.pooler = None  # type: ignore[assignment]
    return model


def _width(config: Any) -> int:
    """Say how wide a model's answer is."""
    for name in ("hidden_size", "d_model", "n_embd", "dim"):
        width = getattr(config, name, None)
        if isinstance(width, int):
            return width
    sizes = getattr(config, "hidden_sizes", None)
    if sizes:
        return int(sizes[-1])
    raise OptionError(
        f"a model of type {config.model_type!r}, which does not say how wide it is",
        "a model of text, images or sound",
        "Choose another model.",
    )


def _learning(model: nn.Module, learns: Learns) -> list[nn.Module]:
    """List the parts that learn."""
    if learns == "frozen":
        return []
    stacks = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part)]
    if learns == "whole" or not stacks:
        return [model]
    longest = max(stacks, key=len)
    return [*longest[-LAST:]]


def _first_line(error: BaseException) -> str:
    """Give the first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
