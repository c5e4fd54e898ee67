"""Data sets as their authors publish them, one file each."""

from membrane.data.archives.cifar import CIFAR10, CIFAR100
from membrane.data.archives.cinic import CINIC10
from membrane.data.archives.records import Location30, Purchase100, Texas100
from membrane.data.archives.svhn import SVHN
from membrane.data.archives.tiny_imagenet import TinyImageNet

__all__ = ["CIFAR10", "CIFAR100", "CINIC10", "SVHN", "Location30", "Purchase100", "Texas100", "TinyImageNet"]
