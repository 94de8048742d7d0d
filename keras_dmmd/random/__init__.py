"""Stateless random numbers, the same calls on every backend, and exact categorical sampling.

Every function takes a `seed`: an integer, a `keras.random.SeedGenerator`, or a key that `split` or
`row_keys` returned. The same integer or key gives the same numbers again; a generator moves on.
"""

from keras_dmmd.random.draws import exponential as exponential
from keras_dmmd.random.draws import normal as normal
from keras_dmmd.random.draws import randint as randint
from keras_dmmd.random.draws import spread as spread
from keras_dmmd.random.draws import stratified as stratified
from keras_dmmd.random.draws import uniform as uniform
from keras_dmmd.random.keys import as_key as as_key
from keras_dmmd.random.keys import row_keys as row_keys
from keras_dmmd.random.keys import seed_keys as seed_keys
from keras_dmmd.random.keys import split as split
from keras_dmmd.random.races import categorical as categorical
from keras_dmmd.random.races import race as race
from keras_dmmd.random.races import winner as winner
from keras_dmmd.random.rows import Rows as Rows
from keras_dmmd.random.rows import batch_rows as batch_rows
from keras_dmmd.random.rows import for_all_rows as for_all_rows
from keras_dmmd.random.rows import is_part_of_rows as is_part_of_rows
from keras_dmmd.random.rows import part_of_rows as part_of_rows
from keras_dmmd.random.rows import rows_of as rows_of
