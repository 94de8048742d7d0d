"""`python -m keras_dmmd.cli`."""

import sys

from keras_dmmd.cli import main

sys.exit(main())
