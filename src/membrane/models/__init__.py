"""Networks by name, and the signals that attacks read from any network."""

from membrane.core.catalogue import Catalogue
from membrane.models.answers import Answers, from_onnx
from membrane.models.mlp import MLP
from membrane.models.model import Model, Normalization, initialize
from membrane.models.resnet import ResNet
from membrane.models.signals import logits_of, signals_from_logits, signals_of
from membrane.models.steady import check_steady
from membrane.models.vit import ViT

MODELS: Catalogue[Model] = Catalogue("model", [MLP, ResNet, ViT])

__all__ = [
    "MLP",
    "MODELS",
    "Answers",
    "Model",
    "Normalization",
    "ResNet",
    "ViT",
    "check_steady",
    "from_onnx",
    "initialize",
    "logits_of",
    "signals_from_logits",
    "signals_of",
]
