"""Networks by name, and the signals that attacks read from any network."""

from membrane.core.catalogue import Catalogue
from membrane.models.answers import Answers, from_onnx
from membrane.models.at_work import at_work, to_work
from membrane.models.layout import laid_out
from membrane.models.mlp import MLP, PurchaseMLP, TexasMLP
from membrane.models.model import Model, Normalization, initialize
from membrane.models.resnet import ResNet, ResNet18, ResNet20, ResNet56
from membrane.models.signals import log_probabilities, logits_of, signals_from_logits, signals_of
from membrane.models.start import file_checksum, start_from
from membrane.models.steady import check_steady
from membrane.models.timm_nets import Timm
from membrane.models.torchvision_nets import ConvNeXtTiny, DenseNet121, MobileNetV3, SwinTiny, Torchvision
from membrane.models.vgg import VGG11, VGG16
from membrane.models.vit import ViT, ViTTiny
from membrane.models.wide_resnet import WideResNet, WRN16x4, WRN28x2

MODELS: Catalogue[Model] = Catalogue(
    "model",
    [
        *(MLP, PurchaseMLP, TexasMLP),
        *(ResNet, ResNet18, ResNet20, ResNet56, WideResNet, WRN16x4, WRN28x2, VGG11, VGG16),
        *(ViT, ViTTiny),
        *(DenseNet121, MobileNetV3, ConvNeXtTiny, SwinTiny, Torchvision, Timm),
    ],
)

__all__ = [
    "MLP",
    "MODELS",
    "VGG11",
    "VGG16",
    "Answers",
    "ConvNeXtTiny",
    "DenseNet121",
    "MobileNetV3",
    "Model",
    "Normalization",
    "PurchaseMLP",
    "ResNet",
    "ResNet18",
    "ResNet20",
    "ResNet56",
    "SwinTiny",
    "TexasMLP",
    "Timm",
    "Torchvision",
    "ViT",
    "ViTTiny",
    "WRN16x4",
    "WRN28x2",
    "WideResNet",
    "at_work",
    "check_steady",
    "file_checksum",
    "from_onnx",
    "initialize",
    "laid_out",
    "log_probabilities",
    "logits_of",
    "signals_from_logits",
    "signals_of",
    "start_from",
    "to_work",
]
