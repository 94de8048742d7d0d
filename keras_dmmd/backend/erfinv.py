"""The inverse error function in few operations, for runtimes that do not have it.

M. Giles, "Approximating the erfinv function", 2010: polynomials in w = -log(1 - x²), less 2.5 where
w < 5, and in √w - 3 where it is more; the highest power first. In float32 it is off by 1e-6 of itself.
"""

from keras import ops

CENTRE = (
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
    *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
)
TAILS = (
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
    *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)


def erfinv(x):
    """Of a float32 tensor in (-1, 1)."""
    w = -ops.log((1.0 - x) * (1.0 + x))
    tails = _polynomial(TAILS, ops.sqrt(w) - 3.0)
    return ops.where(w < 5.0, _polynomial(CENTRE, w - 2.5), tails) * x


def _polynomial(coefficients, x):
    found = coefficients[0]
    for coefficient in coefficients[1:]:
        found = found * x + coefficient
    return found
