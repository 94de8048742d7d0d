"""`python -m keras_dmmd_command`."""

import sys

from keras_dmmd_command import main

sys.exit(main())
