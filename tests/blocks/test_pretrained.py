"""Pretrained networks: built from a configuration, filled from safetensors, never from code."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from thalweg.blocks.pretrained import RATE, Pretrained, describe, tokenizer_of
from thalweg.blocks.sequences import Reading, TextEncoder
from thalweg.core.errors import OptionError

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place: Path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=20,
    )
    transformers.BertModel(config).save_pretrained(place)
    return place


def ids() -> dict[str, torch.Tensor]:
    tokens = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
    return {"input_ids": tokens, "attention_mask": (tokens > 0).long()}


def test_weights_come_from_the_folder_and_a_saved_model_needs_no_folder(folder: Path) -> None:
    config = describe(str(folder))
    one, other = Pretrained(config), Pretrained(config)
    one.load(str(folder))
    other.load_state_dict(one.state_dict())
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    mask = ids()["attention_mask"] > 0
    with torch.no_grad():
        said = theirs(**ids()).last_hidden_state
    mean = (said * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(one(ids(), mask), mean)
    assert torch.equal(one(ids(), mask), other(ids(), mask))
    first = Pretrained(config, pooling="cls")
    first.load(str(folder))
    torch.testing.assert_close(first(ids(), mask), said[:, 0])


def test_only_what_learns_learns_and_slowly(folder: Path) -> None:
    config = describe(str(folder))
    counts = {}
    for learns in ("frozen", "last", "whole"):
        one = Pretrained(config, learns)  # type: ignore[arg-type]
        one.train()
        learning = [p for p in one.parameters() if p.requires_grad]
        assert all(p.rate == RATE for p in learning)
        assert one(ids()).requires_grad == (learns != "frozen")
        training = [module.training for module in one.model.modules()]
        counts[learns] = len(learning), sum(training)
    assert counts["frozen"] == (0, 0)
    assert 0 < counts["last"][0] < counts["whole"][0]
    assert 0 < counts["last"][1] < counts["whole"][1]


def test_a_model_of_pictures_gives_one_vector_for_each(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
    )
    config.save_pretrained(tmp_path)
    one = Pretrained(describe(str(tmp_path)))
    assert one({"pixel_values": torch.rand(3, 3, 8, 8)}).shape == (3, one.width)


def test_settled_texts_are_read_as_the_texts_are(folder: Path) -> None:
    reading = Reading("pretrained", 50, 6, str(folder), describe(str(folder)))
    encoder = TextEncoder([reading], 8)
    tokens = torch.zeros(5, 1, 6, dtype=torch.int16)
    tokens[:3, 0, :4] = torch.tensor([[3, 6, 7, 4], [3, 8, 4, 0], [3, 9, 9, 4]])
    fields = {"tokens": tokens, "missing": (tokens[:, :, 0] == 0).to(torch.uint8)}
    encoder.prepare({name: field.numpy() for name, field in fields.items()}, np.zeros((5, 1)))
    encoder.eval()
    settled = encoder.settle(fields)
    assert set(settled) == {"missing", "settled"}
    assert settled["settled"].shape == (5, 1, 16)
    torch.testing.assert_close(encoder(settled), encoder(fields))
    assert encoder(settled)[3:].abs().sum() == 0


def test_what_is_no_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"no config\.json"):
        describe(str(tmp_path))
    with pytest.raises(OptionError, match=r"no tokenizer\.json"):
        tokenizer_of(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "of-their-own"}))
    with pytest.raises(OptionError, match="without code of its own"):
        describe(str(tmp_path))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(OptionError, match=r"thalweg\[pretrained\]"):
        describe(str(tmp_path))


def test_pickled_weights_and_code_are_never_read(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    torch.save({}, tmp_path / "pytorch_model.bin")
    one = Pretrained(describe(str(tmp_path)))
    with pytest.raises(OptionError, match=r"no model\.safetensors"):
        one.load(str(tmp_path))


def test_weights_of_another_model_are_refused(folder: Path) -> None:
    config = json.loads(describe(str(folder)))
    config["hidden_size"] = 32
    with pytest.raises(OptionError, match="cannot be read"):
        Pretrained(json.dumps(config)).load(str(folder))


def test_a_folder_is_read_without_the_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(socket.socket, "connect", refused)
    Pretrained(describe(str(folder))).load(str(folder))
