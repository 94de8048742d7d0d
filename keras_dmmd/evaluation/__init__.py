"""How good samplers are: sweeps, and the page that shows them."""

from keras_dmmd.evaluation.defaults import default_metrics as default_metrics
from keras_dmmd.evaluation.entropies import step_entropies as step_entropies
from keras_dmmd.evaluation.report import Report as Report
from keras_dmmd.evaluation.sweep import evaluate as evaluate
