"""Weights from files that nobody vouches for: read array by array, compared before anything is made."""

from keras_dmmd.weight_files.checkpoints import check_declared as check_declared
from keras_dmmd.weight_files.deferred import made_from as made_from
from keras_dmmd.weight_files.npz_file import NpzFile as NpzFile
from keras_dmmd.weight_files.safetensors_file import SafetensorsFile as SafetensorsFile
from keras_dmmd.weight_files.torch_file import TorchFile as TorchFile
from keras_dmmd.weight_files.weight_file import DamagedFile as DamagedFile
from keras_dmmd.weight_files.weight_file import WeightFile as WeightFile
from keras_dmmd.weight_files.weight_file import short as short
