"""Trained models as folders: those that ship, one's own, and those at hubs."""

from keras_dmmd.presets.files import from_preset as from_preset
from keras_dmmd.presets.files import names as names
from keras_dmmd.presets.files import read_card as read_card
from keras_dmmd.presets.files import save_to_preset as save_to_preset
from keras_dmmd.presets.handles import upload_to_hub as upload_to_hub
