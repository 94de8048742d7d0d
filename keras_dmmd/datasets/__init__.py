"""Real data: images as tokens, texts and molecules as strings; packing them into rows."""

from keras_dmmd.datasets.images import load_cifar10 as load_cifar10
from keras_dmmd.datasets.images import load_digits as load_digits
from keras_dmmd.datasets.images import load_fashion_mnist as load_fashion_mnist
from keras_dmmd.datasets.molecules import load_moses as load_moses
from keras_dmmd.datasets.packing import pack as pack
from keras_dmmd.datasets.pictures import load_images as load_images
from keras_dmmd.datasets.records import load_csv as load_csv
from keras_dmmd.datasets.records import load_fasta as load_fasta
from keras_dmmd.datasets.records import load_smiles as load_smiles
from keras_dmmd.datasets.splits import split as split
from keras_dmmd.datasets.splits import split_rows as split_rows
from keras_dmmd.datasets.text import load_shakespeare as load_shakespeare
from keras_dmmd.datasets.text import load_sotu as load_sotu
from keras_dmmd.datasets.text import load_text as load_text
from keras_dmmd.datasets.text import text8 as text8
from keras_dmmd.datasets.tfds import load_tfds as load_tfds
