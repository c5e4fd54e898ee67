from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from membrane.core.errors import ModelError, SettingError, StoreError
from membrane.core.generators import torch_generator
from membrane.data import from_arrays
from membrane.models import Answers, check_steady, from_onnx, signals_of
from membrane.regions import load_weights

X = torch.randn(40, 6, generator=torch_generator(0))
EXAMPLES = from_arrays(X, torch.arange(40) % 3)


def net(*extra: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3), *extra)


def test_probabilities_give_the_signals_of_the_logits_they_came_from() -> None:
    plain = signals_of(net(), EXAMPLES).arrays()
    wrapped = signals_of(Answers(net(nn.Softmax(1)), "probabilities"), EXAMPLES).arrays()
    for kind in ("loss", "rescaled_logit", "margin", "entropy", "modified_entropy", "correct"):
        np.testing.assert_allclose(wrapped[kind], plain[kind], rtol=1e-4, atol=1e-5)


def test_a_numpy_function_is_handed_arrays_and_may_return_lists() -> None:
    weights = np.random.default_rng(0).normal(size=(6, 3))

    def predict(x: np.ndarray) -> list[list[float]]:
        assert isinstance(x, np.ndarray)
        return (x @ weights).tolist()

    expected = X.double() @ torch.from_numpy(weights)
    torch.testing.assert_close(Answers(predict, numpy=True)(X), expected, rtol=1e-6, atol=1e-6)


def test_labels_hold_the_label_and_nothing_else() -> None:
    found = Answers(lambda x: net()(x).argmax(1), "labels", n_classes=3)(X)
    assert torch.equal(found.argmax(1), net()(X).argmax(1))
    assert len(found.unique()) == 2


def test_a_probability_of_zero_stays_finite() -> None:
    sure = Answers(lambda x: torch.eye(3)[torch.zeros(len(x), dtype=torch.long)], "probabilities")
    found = signals_of(sure, EXAMPLES)
    assert np.isfinite(found.loss).all()
    assert found.loss.max() > 100 > 1e-6 > found.loss.min()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Answers(net(), "probabilities"), "are no probabilities: they run from -"),
        (Answers(lambda x: torch.full((len(x), 3), 0.7), "probabilities"), "add up to 2.1 at least"),
        (Answers(lambda x: net()(x)[:, 0]), r"returned shape \(40,\) for 40 inputs"),
        (Answers(lambda x: net()(x)[:7]), r"returned shape \(7, 3\) for 40 inputs"),
        (Answers(lambda x: "cat"), "returned no array of numbers but str"),
        (Answers(lambda x: torch.full((len(x),), 3), "labels", n_classes=3), "labels from 3 to 3; with 3 classes"),
        (Answers(lambda x: torch.full((len(x),), 0.5), "labels", n_classes=3), "labels are class indices"),
        (Answers(lambda x: net()(x), "labels", n_classes=3), r"labels are class indices of shape \(40,\)"),
    ],
)
def test_answers_that_are_not_what_they_are_said_to_be_are_refused(model: Answers, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        model(X)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingError, match="output is 'scores'; a model answers with logits, probabilities, labels"):
        Answers(net(), "scores")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="n_classes is None; labels alone do not tell"):
        Answers(net(), "labels")


class AlwaysDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.net(x), 0.5, training=True)


class BatchStatistics(AlwaysDropout):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(self.net(x), None, None, training=True)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (AlwaysDropout(), "answers the same inputs differently"),
        (BatchStatistics(), "depends on the other inputs of the batch"),
        (net(nn.Softmax(1)), "returns probabilities, and attacks read logits"),
        (nn.Identity(), None),
        (net(nn.Dropout(0.5)), None),
        (net(nn.BatchNorm1d(3)), None),
        (Answers(net(nn.Softmax(1)), "probabilities"), None),
    ],
)
def test_what_cannot_be_audited_is_found(model: nn.Module, said: str | None) -> None:
    if said is None:
        return check_steady(model, EXAMPLES)
    with pytest.raises(ModelError, match=said):
        check_steady(model, EXAMPLES)
    return None


def test_weights_come_from_safetensors_and_from_nothing_else(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    trained = net()
    save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    fresh = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).train()
    loaded = load_weights(fresh, tmp_path / "weights.safetensors")
    assert not loaded.training
    assert torch.equal(loaded(X), trained(X))
    with pytest.raises(ModelError, match="belong to another network"):
        load_weights(nn.Linear(6, 3), tmp_path / "weights.safetensors")
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(StoreError, match="pickle"):
        load_weights(fresh, tmp_path / "weights.pt")


def test_weights_of_another_kind_or_not_finite_are_refused_and_leave_the_network_alone(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = net().state_dict()
    odd = {"0.weight": state["0.weight"].to(torch.int32), "2.bias": torch.full((3,), torch.nan)}
    save_file(state | odd, tmp_path / "weights.safetensors")
    fresh = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    before = fresh(X)
    with pytest.raises(ModelError, match=r"(?s)2 mistakes.*0.weight holds torch.int32.*2.bias holds NaN"):
        load_weights(fresh, tmp_path / "weights.safetensors")
    assert torch.equal(fresh(X), before)
    save_file({name: value.double() for name, value in state.items()}, tmp_path / "weights.safetensors")
    load_weights(fresh, tmp_path / "weights.safetensors")  # precision does not matter


def test_onnx_without_its_runtime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(SettingError, match=r"pip install 'membrane\[onnx\]'"):
        from_onnx("model.onnx")


@pytest.mark.extras("onnx", "onnxruntime")
def test_an_onnx_file_answers_as_the_network_in_it(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights, path = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32), tmp_path / "net.onnx"

    def write(kind: int) -> None:
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"], axis=1)],
            "net",
            [helper.make_tensor_value_info("x", kind, ["batch", 6])],
            [helper.make_tensor_value_info("p", kind, ["batch", 3])],
            [numpy_helper.from_array(weights if kind == TensorProto.FLOAT else weights.astype(np.float64), "w")],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)

    write(TensorProto.FLOAT)
    model = from_onnx(path, "probabilities")
    check_steady(model, EXAMPLES)
    torch.testing.assert_close(model(X).softmax(1).float(), (X @ torch.from_numpy(weights)).softmax(1))
    with pytest.raises(ModelError, match="cannot take inputs of shape"):
        model(torch.zeros(2, 5))
    write(TensorProto.DOUBLE)
    with pytest.raises(ModelError, match=r"takes x tensor\(double\); a classifier takes one float32 input"):
        from_onnx(path)
    path.write_bytes(b"\x80\x04not a network")
    with pytest.raises(ModelError, match="is no ONNX network"):
        from_onnx(path)
    with pytest.raises(ModelError, match="there is no file"):
        from_onnx(tmp_path / "none.onnx")
